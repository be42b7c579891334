"""Faults during membership changes: each fault asks for changes and injects failures while they are under way.

A change names the version it starts from. So a change whose outcome is unknown can only replace the next one, and can never take
effect after it. Invariant: of two changes from one version at most one is acknowledged, and the version that servers show is never
lower than an acknowledged one. No fault cleans up: `restore` brings the ensemble back to its initial members and frees the spares.
"""

import threading
import time

from kazoo.exceptions import BadArgumentsError, BadVersionError, KazooException, NewConfigNoQuorumError, ReconfigInProcessError
from kazoo.handlers.threading import KazooTimeoutError
from workload import OPEN_OUTCOME, Acknowledged, connect

CONFIG = "/zookeeper/config"
SUPER = [("digest", "super:admin")]
# The outcome of a change that takes longer is unknown.
ANSWER_LIMIT_S = 15.0
RESTORE_LIMIT_S = 90.0
CONVERGE_LIMIT_S = 10.0
STORM_S = 7.0


def shown(client):
    """Returns the sorted lines of the servers, and the version."""
    data, _ = client.get_async(CONFIG).get(timeout=ANSWER_LIMIT_S)
    *lines, version = data.decode().split("\n")
    return sorted(lines), int(version.partition("=")[2], 16)


def number_of(line):
    return int(line.partition("=")[0].removeprefix("server."))


class Changes:
    def __init__(self, ensemble, record):
        self.ensemble, self.record = ensemble, record
        self.clients = [connect(self.hosts(), auth_data=SUPER) for _ in range(2)]
        self.made = {}  # version -> the change from it that was acknowledged
        self.counts = {"done": 0, "refused": 0, "unknown": 0}

    def hosts(self):
        return ",".join(member.address for member in self.ensemble.members.values())

    def close(self):
        for client in self.clients:
            client.stop()
            client.close()

    # --- one change ------------------------------------------------------------------------------------------------------

    def ask(self, joining=(), leaving=(), client=0, then=lambda: None):
        """Asks for one change to the current members and calls `then` while it is under way. Returns whether the change was made."""
        client = self.clients[client]
        outcome = "unknown"
        start = time.monotonic()
        try:
            client.sync_async("/").get(timeout=ANSWER_LIMIT_S)
            _, version = shown(client)
            start = time.monotonic()
            named = ",".join(joining) or None, ",".join(map(str, leaving)) or None
            asked = client.reconfig_async(*named, None, version)
            then()
            _, stat = asked.get(timeout=ANSWER_LIMIT_S)
            outcome = "done"
            self.acknowledged(version, stat.mzxid, start, f"reconfig {named}")
        # Bad arguments: the other change came first, and this one would leave fewer than two voters.
        except (BadArgumentsError, BadVersionError, NewConfigNoQuorumError, ReconfigInProcessError):
            outcome = "refused"
        except (*OPEN_OUTCOME, KazooTimeoutError):
            time.sleep(0.05)
        except KazooException as error:
            self.record.violation(f"reconfig {joining} {leaving}: unexpected {error!r}")
        self.counts[outcome] += 1
        return outcome == "done"

    def acknowledged(self, version, zxid, start, what):
        if version in self.made:
            self.record.violation(f"two changes from version {version:x}: {self.made[version]:x} and {zxid:x} ({what})")
        self.made[version] = zxid
        self.record.writes.append(Acknowledged(start, time.monotonic(), zxid, what))

    def make(self, joining=(), leaving=(), limit_s=RESTORE_LIMIT_S):
        """Asks for the change until it is made."""
        deadline = time.monotonic() + limit_s
        while not self.ask(joining, leaving):
            if time.monotonic() > deadline:
                raise RuntimeError(f"no change within {limit_s:.0f} s: joining {joining}, leaving {leaving}")
            time.sleep(0.1)

    def add(self, number, role="participant"):
        self.make([self.ensemble.line(number, role)])

    def remove(self, number):
        self.make(leaving=[number])

    # --- the faults ------------------------------------------------------------------------------------------------------

    def observer(self, rng):
        """Lets an observer join, become a voter, then an observer again, and leave; kills the leader (-9) at one of these steps."""
        number, at = self.ensemble.spares[0], rng.randrange(4)
        self.ensemble.configure(number, self.ensemble.numbers, "observer")
        self.ensemble.spawn(number)
        self.ensemble.wait_serving([number])
        steps = [lambda: self.add(number, "observer"), lambda: self.add(number), lambda: self.add(number, "observer"), lambda: self.remove(number)]
        for position, step in enumerate(steps):
            if position == at:
                self.kill_leader_meanwhile(rng, step)
            else:
                step()
            time.sleep(rng.uniform(0.0, 0.5))
        return f"server {number}, leader killed at step {at + 1}"

    def voter(self, rng):
        """Lets one voter join and another leave while a third is killed (-9) and restarted."""
        spare = self.ensemble.spares[0]
        gone, killed = rng.sample(self.ensemble.numbers, 2)
        self.ensemble.spawn(spare)
        thread = threading.Thread(target=self.kill_and_start, args=(rng, killed))
        thread.start()
        self.add(spare)
        self.remove(gone)
        thread.join()
        time.sleep(rng.uniform(0.0, 1.0))
        return f"server {spare} for {gone}, {killed} killed"

    def kill_leader(self, rng):
        """Kills the leader (-9) in the middle of each of several changes."""
        spare, killed = self.ensemble.spares[0], []
        self.ensemble.spawn(spare)
        self.ensemble.wait_serving([spare])
        for joining in (True, False, True, False):
            leader = self.ensemble.leader()
            change = {"joining": [self.ensemble.line(spare)]} if joining else {"leaving": [spare]}
            self.ask(**change, then=lambda: (time.sleep(rng.uniform(0.0, 0.03)), self.ensemble.kill(leader)))
            killed.append(leader)
            time.sleep(rng.uniform(0.0, 0.5))
            self.ensemble.spawn(leader)
            time.sleep(rng.uniform(0.0, 0.5))
        return f"servers {killed}"

    def leader(self, rng):
        """Removes the leader three times; each removed leader soon joins again."""
        gone = []
        for _ in range(3):
            leader = self.ensemble.leader()
            self.remove(leader)
            gone.append(leader)
            time.sleep(rng.uniform(0.0, 1.0))
            self.add(leader)
        return f"servers {gone}"

    def joiner(self, rng):
        """Kills (-9) a joining server repeatedly while it fetches the state, or soon after; then lets it join."""
        spare = self.ensemble.spares[0]
        for _ in range(6):
            self.ensemble.spawn(spare)
            time.sleep(rng.uniform(0.02, 0.6))
            self.ensemble.kill(spare)
        self.ensemble.spawn(spare)
        self.add(spare)
        return f"server {spare}"

    def two(self, rng):
        """Asks for two changes at once, several times: both start from the same version, so at most one of them is made."""
        spares = self.ensemble.spares
        for spare in spares:
            self.ensemble.spawn(spare)
        self.ensemble.wait_serving(spares)
        for _ in range(4):
            joining = [([self.ensemble.line(spare, rng.choice(("participant", "observer")))], ()) for spare in spares]
            leaving = [((), [number]) for number in (*spares, rng.choice(self.ensemble.numbers))]
            asked = [change for change in rng.sample(joining + leaving, 2) if self.is_possible(*change)]
            threads = [threading.Thread(target=self.ask, args=(*change, client)) for client, change in enumerate(asked)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        return "made, refused, unknown: " + ", ".join(map(str, self.counts.values()))

    def empty_disk(self, rng):
        """Lets a voter leave, lose its disk, and rejoin under its number, while another is paused (SIGSTOP) or killed (-9)."""
        number, other = rng.sample(self.ensemble.numbers, 2)
        spare = self.ensemble.spares[0]
        self.ensemble.spawn(spare)
        # Among four voters, two with empty disks would be one too many.
        self.ensemble.wait_serving([spare])
        self.add(spare)
        self.remove(number)
        self.ensemble.wipe(number)
        thread = threading.Thread(target=self.kill_and_start if rng.random() < 0.5 else self.pause_and_resume, args=(rng, other))
        thread.start()
        self.ensemble.spawn(number)
        self.add(number)
        thread.join()
        return f"server {number}, other {other}"

    def storm(self, rng):
        """Changes the members at random for 7 seconds while servers are killed, paused and started, with no regard for a majority."""
        for spare in self.ensemble.spares:
            self.ensemble.spawn(spare)
        deadline = time.monotonic() + STORM_S
        thread = threading.Thread(target=self.change_until, args=(rng, deadline))
        thread.start()
        faults = 0
        while time.monotonic() < deadline:
            number = rng.choice(list(self.ensemble.members))
            getattr(self.ensemble, rng.choice(("kill", "spawn", "spawn", "spawn", "pause", "resume", "resume")))(number)
            faults += 1
            time.sleep(rng.uniform(0.1, 0.8))
        for number in self.ensemble.members:
            self.ensemble.resume(number)
            self.ensemble.spawn(number)
        thread.join()
        return f"{faults} faults; changes made, refused, unknown: {', '.join(map(str, self.counts.values()))}"

    def change_until(self, rng, deadline):
        everybody = list(self.ensemble.members)
        while time.monotonic() < deadline:
            joining = rng.sample(everybody, rng.choice((0, 1, 1, 2)))
            # An ensemble needs at least two voters; ZooKeeper requires this, too.
            leaving = rng.sample([number for number in everybody if number not in joining], rng.choice((0, 1, 1)))
            lines = [self.ensemble.line(number, rng.choice(("participant", "participant", "observer"))) for number in joining]
            if self.is_possible(lines, leaving):
                self.ask(lines, leaving)
            time.sleep(rng.uniform(0.0, 0.3))

    def is_possible(self, joining, leaving):
        """Returns whether at least two voters remain, provided nothing else changes meanwhile."""
        try:
            lines, _ = shown(self.clients[0])
        except (*OPEN_OUTCOME, KazooTimeoutError):
            return False
        after = {number_of(line): line for line in [*lines, *joining] if number_of(line) not in leaving}
        return sum(":participant" in line for line in after.values()) >= 2

    def kill_leader_meanwhile(self, rng, step):
        def harm():
            time.sleep(rng.uniform(0.0, 0.1))
            leader = self.ensemble.leader()
            self.ensemble.kill(leader)
            time.sleep(rng.uniform(0.0, 0.5))
            self.ensemble.spawn(leader)

        thread = threading.Thread(target=harm)
        thread.start()
        step()
        thread.join()

    def kill_and_start(self, rng, number):
        for _ in range(2):
            time.sleep(rng.uniform(0.0, 0.4))
            self.ensemble.kill(number)
            time.sleep(rng.uniform(0.0, 0.6))
            self.ensemble.spawn(number)

    def pause_and_resume(self, rng, number):
        time.sleep(rng.uniform(0.0, 0.3))
        self.ensemble.pause(number)
        time.sleep(rng.uniform(0.5, 3.0))
        self.ensemble.resume(number)

    # --- afterwards ------------------------------------------------------------------------------------------------------

    def restore(self):
        """Restores the initial members and empties the disks of the spares. Every server runs, and some serve."""
        deadline = time.monotonic() + RESTORE_LIMIT_S
        wanted = [self.ensemble.line(number) for number in self.ensemble.numbers]
        while True:
            for number in self.ensemble.numbers:
                self.ensemble.spawn(number)
            if self.is_restored(wanted):
                break
            if time.monotonic() > deadline:
                raise RuntimeError(f"the members are not restored within {RESTORE_LIMIT_S:.0f} s: {self.ensemble.modes()}")
            time.sleep(0.1)
        for number in self.ensemble.spares:
            self.ensemble.resume(number)
            self.ensemble.wipe(number)

    def is_restored(self, wanted):
        try:
            self.clients[0].sync_async("/").get(timeout=ANSWER_LIMIT_S)
            lines, _ = shown(self.clients[0])
        except (*OPEN_OUTCOME, KazooTimeoutError):
            return False
        if lines == sorted(wanted):
            return True
        members = {number_of(line) for line in lines}
        joining = [line for line in wanted if line not in lines]
        self.ask(joining, members - {number_of(line) for line in wanted})
        return False

    def differences(self, clients):
        """Returns how the members the servers show differ among the servers and from the acknowledged changes."""
        deadline = time.monotonic() + CONVERGE_LIMIT_S
        wanted = sorted(self.ensemble.line(number) for number in self.ensemble.numbers)
        highest = max(self.made.values(), default=0)
        while True:
            found = {number: shown(client) for number, client in clients.items()}
            versions = {version for _, version in found.values()}
            if len(versions) == 1 and min(versions) >= highest and all(lines == wanted for lines, _ in found.values()):
                return []
            if time.monotonic() > deadline:
                return [f"server {number} shows members {lines}, version {version:x}; acknowledged: {highest:x}" for number, (lines, version) in found.items()]
            time.sleep(0.2)


CHANGES = {
    "reconfig-observer": Changes.observer,
    "reconfig-voter": Changes.voter,
    "reconfig-kill-leader": Changes.kill_leader,
    "reconfig-leader": Changes.leader,
    "reconfig-joiner": Changes.joiner,
    "reconfig-two": Changes.two,
    "reconfig-empty-disk": Changes.empty_disk,
    "reconfig-storm": Changes.storm,
}
