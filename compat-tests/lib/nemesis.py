"""The faults of a fault run: each is a function that causes a failure for a while and says which servers it affects.

No fault cleans up after itself: `recover` repairs everything that a fault breaks.
"""

import time

# Well below the session timeout: a client that cannot reach a serving server may eventually lose its session.
STORM_S = 6.0


def kill_any(ensemble, rng):
    """Kills a random server (-9) and starts it again, several times over."""
    killed = []
    for _ in range(3):
        number = rng.choice(ensemble.numbers)
        ensemble.kill(number)
        time.sleep(rng.uniform(0.1, 1.0))
        ensemble.spawn(number)
        time.sleep(rng.uniform(0.3, 2.0))
        killed.append(number)
    return f"servers {killed}"


def kill_leader(ensemble, rng):
    """Kills the leader (-9); it comes back when another leads."""
    number = ensemble.leader()
    ensemble.kill(number)
    time.sleep(rng.uniform(0.0, 0.5))
    ensemble.leader()
    time.sleep(rng.uniform(0.0, 1.0))
    return f"server {number}"


def kill_all(ensemble, rng):
    """Kills every server (-9) at once and starts all again."""
    for number in ensemble.numbers:
        ensemble.kill(number)
    time.sleep(rng.uniform(0.0, 0.5))
    return "all servers"


def pause_leader(ensemble, rng):
    """Stops the leader (SIGSTOP) for 1 to 8 seconds, then resumes it."""
    number = ensemble.leader()
    ensemble.pause(number)
    pause_s = rng.uniform(1, 8)
    time.sleep(pause_s)
    ensemble.resume(number)
    return f"server {number} for {pause_s:.1f} s"


def rolling_restart(ensemble, rng):
    """Restarts (SIGTERM) the servers one after the other, as in an upgrade."""
    order = rng.sample(ensemble.numbers, len(ensemble.numbers))
    for number in order:
        ensemble.restart(number)
    return f"servers {order}"


def wipe(ensemble, rng):
    """Kills a random server and gives it an empty disk."""
    number = rng.choice(ensemble.numbers)
    ensemble.wipe(number)
    time.sleep(rng.uniform(0.0, 1.0))
    ensemble.spawn(number)
    time.sleep(1)
    return f"server {number}"


def chain(ensemble, rng):
    """Cuts all links except those to one follower, the hub: three servers then form a chain with the leader at one end."""
    leader = ensemble.leader()
    hub = rng.choice([number for number in ensemble.numbers if number != leader])
    ensemble.partition([[hub, number] for number in ensemble.numbers])
    time.sleep(rng.uniform(3, 7))
    return f"hub {hub}, leader {leader}"


def isolate_leader(ensemble, rng):
    """Cuts the leader off from all other servers; clients still reach it."""
    number = ensemble.leader()
    ensemble.isolate(number)
    time.sleep(rng.uniform(3, 7))
    return f"server {number}"


def storm(ensemble, rng):
    """Combines faults of all servers and links for 6 seconds, with no regard for a majority; empties no disk."""
    count, deadline = 0, time.monotonic() + STORM_S
    while time.monotonic() < deadline:
        number = rng.choice(ensemble.numbers)
        match rng.choice(("kill", "spawn", "spawn", "pause", "resume", "resume", "partition", "heal")):
            case "partition":
                groups = [rng.sample(ensemble.numbers, rng.randint(1, len(ensemble.numbers))) for _ in range(2)]
                ensemble.partition(groups)
            case "heal":
                ensemble.heal()
            case action:
                getattr(ensemble, action)(number)
        count += 1
        time.sleep(rng.uniform(0.1, 0.8))
    return f"{count} faults"


FAULTS = {
    "kill": kill_any,
    "kill-leader": kill_leader,
    "kill-all": kill_all,
    "pause-leader": pause_leader,
    "rolling-restart": rolling_restart,
    "wipe": wipe,
    "chain": chain,
    "isolate-leader": isolate_leader,
    "storm": storm,
}


def recover(ensemble, changes=None):
    """Mends the network, resumes and starts every server, restores the members, and waits until all serve."""
    ensemble.heal()
    for number in ensemble.numbers:
        ensemble.resume(number)
        ensemble.spawn(number)
    if changes:
        changes.restore()
    ensemble.wait_serving()
