"""Kazoo's recipes, each under the contention it is made for."""

import datetime
import threading
import time

from kazoo.exceptions import CancelledError, ConnectionLoss, LockTimeout, NoNodeError
from kazoo.recipe.counter import Counter
from kazoo.recipe.lease import MultiNonBlockingLease, NonBlockingLease
from kazoo.recipe.lock import Lock
from kazoo.retry import KazooRetry, RetryFailedError

from cases import case, equal, eventually, raises
from scope import drop_socket

# Long enough to see that a client still waits.
STILL_S = 0.3


class Task(threading.Thread):
    """A function that runs in parallel with the case; `value()` returns its result."""

    def __init__(self, function, *arguments):
        super().__init__(daemon=True)
        self.call = (function, arguments)
        self.result = self.error = None
        self.start()

    def run(self):
        function, arguments = self.call
        try:
            self.result = function(*arguments)
        except Exception as error:
            self.error = error

    def value(self, limit_s=20):
        self.join(limit_s)
        assert not self.is_alive(), "still waiting"
        if self.error:
            raise self.error
        return self.result

    def still_waits(self):
        time.sleep(STILL_S)
        return self.is_alive()


def together(t, count, work):
    """Runs `work(client, number)` in as many clients at once. Returns the results."""
    tasks = [Task(work, t.client(), number) for number in range(count)]
    return [task.value(30) for task in tasks]


@case("lock")
def one_holder_at_a_time(t):
    inside, order = [], []

    def work(client, number):
        lock = client.Lock("/lock", f"contender {number}")
        for _ in range(3):
            with lock:
                inside.append(number)
                equal(len(inside), 1)
                order.append(number)
                time.sleep(0.01)
                inside.remove(number)

    together(t, 4, work)
    equal(sorted(order), sorted(list(range(4)) * 3))
    equal(t.zk.get_children("/lock"), [])


@case("lock")
def first_come_first_served(t):
    first = t.zk.Lock("/lock", "first")
    first.acquire()
    order, tasks = [], []
    for name in ("second", "third", "fourth"):
        lock = t.client().Lock("/lock", name)

        def wait(lock=lock, name=name):
            with lock:
                order.append(name)

        tasks.append(Task(wait))
        eventually(lambda: name in first.contenders())
    equal(first.contenders(), ["first", "second", "third", "fourth"])
    first.release()
    for task in tasks:
        task.value()
    equal(order, ["second", "third", "fourth"])


@case("lock")
def not_blocking_and_timeout(t):
    holder = t.zk.Lock("/lock", "holder")
    equal(holder.acquire(), True)
    other = t.client().Lock("/lock", "other")
    equal(other.acquire(blocking=False), False)
    raises(LockTimeout, other.acquire, timeout=0.2)
    equal(holder.contenders(), ["holder"])
    equal(holder.release(), True)
    equal(holder.release(), False)
    equal(other.acquire(timeout=5), True)
    other.release()


@case("lock")
def waiting_can_be_cancelled(t):
    holder = t.zk.Lock("/lock")
    holder.acquire()
    waiter = t.client().Lock("/lock")
    task = Task(waiter.acquire)
    assert task.still_waits()
    waiter.cancel()
    raises(CancelledError, task.value)
    eventually(lambda: len(t.zk.get_children("/lock")) == 1)


@case("lock")
def closing_the_holder_frees_it(t):
    holder = t.client()
    holder.Lock("/lock").acquire()
    task = Task(t.zk.Lock("/lock").acquire)
    assert task.still_waits()
    holder.stop()
    equal(task.value(), True)


@case("lock")
def held_through_a_dropped_connection(t):
    lock = t.zk.Lock("/lock", "holder")
    lock.acquire()
    drop_socket(t.zk)
    other = t.client().Lock("/lock", "other")
    equal(other.acquire(blocking=False), False)
    eventually(lambda: t.zk.connected)
    equal(t.zk.retry(lock.contenders), ["holder"])
    lock.release()
    equal(other.acquire(blocking=False), True)


@case("lock")
def without_ephemeral_survives_its_client(t):
    holder = t.client()
    holder.Lock("/lock", "gone").acquire(ephemeral=False)
    holder.stop()
    equal(t.zk.Lock("/lock").contenders(), ["gone"])
    equal(t.zk.Lock("/lock").acquire(blocking=False), False)


@case("lock")
def lock_nodes_are_ephemeral_and_sequential(t):
    lock = Lock(t.zk, "/lock", "me")
    lock.acquire()
    [name] = t.zk.get_children("/lock")
    data, stat = t.zk.get(f"/lock/{name}")
    equal((name[-10:], data, stat.ephemeralOwner), ("0000000000", b"me", t.zk.client_id[0]))


@case("read-write lock")
def readers_share(t):
    first, second = t.zk.ReadLock("/rw", "r1"), t.client().ReadLock("/rw", "r2")
    equal((first.acquire(timeout=5), second.acquire(timeout=5)), (True, True))
    writer = t.client().WriteLock("/rw", "w")
    equal(writer.acquire(blocking=False), False)
    first.release()
    equal(writer.acquire(blocking=False), False)
    second.release()
    equal(writer.acquire(timeout=5), True)


@case("read-write lock")
def writer_excludes_everyone(t):
    writer = t.zk.WriteLock("/rw", "w")
    writer.acquire()
    equal(t.client().ReadLock("/rw").acquire(blocking=False), False)
    equal(t.client().WriteLock("/rw").acquire(blocking=False), False)
    reader = Task(t.client().ReadLock("/rw", "r").acquire)
    assert reader.still_waits()
    writer.release()
    equal(reader.value(), True)


@case("read-write lock")
def writer_goes_before_later_readers(t):
    reader = t.zk.ReadLock("/rw", "r1")
    reader.acquire()
    writer = t.client().WriteLock("/rw", "w")
    waiting = Task(writer.acquire)
    eventually(lambda: reader.contenders() == ["r1", "w"])
    later = t.client().ReadLock("/rw", "r2")
    late = Task(later.acquire)
    eventually(lambda: len(reader.contenders()) == 3)
    reader.release()
    equal(waiting.value(), True)
    assert late.still_waits()
    writer.release()
    equal(late.value(), True)


@case("semaphore")
def never_more_than_its_leases(t):
    inside, most, guard = [], [], threading.Lock()

    def work(client, number):
        with client.Semaphore("/semaphore", f"client {number}", max_leases=2):
            with guard:
                inside.append(number)
                most.append(len(inside))
            time.sleep(0.1)
            with guard:
                inside.remove(number)

    together(t, 5, work)
    equal((max(most), len(most)), (2, 5))


@case("semaphore")
def holders_and_timeout(t):
    first, second = t.zk.Semaphore("/semaphore", "a", max_leases=2), t.client().Semaphore("/semaphore", "b", max_leases=2)
    first.acquire()
    second.acquire()
    equal(sorted(first.lease_holders()), ["a", "b"])
    third = t.client().Semaphore("/semaphore", "c", max_leases=2)
    equal(third.acquire(blocking=False), False)
    raises(LockTimeout, third.acquire, timeout=0.2)
    waiting = Task(third.acquire)
    assert waiting.still_waits()
    second.release()
    equal(waiting.value(), True)
    equal(sorted(first.lease_holders()), ["a", "c"])


@case("semaphore")
def lease_counts_must_agree(t):
    t.zk.Semaphore("/semaphore", max_leases=2).acquire()
    equal(t.zk.get("/semaphore")[0], b"2")
    raises(ValueError, t.client().Semaphore("/semaphore", max_leases=3).acquire)


@case("semaphore")
def closing_a_holder_frees_its_lease(t):
    holder = t.client()
    holder.Semaphore("/semaphore").acquire()
    waiting = Task(t.zk.Semaphore("/semaphore").acquire)
    assert waiting.still_waits()
    holder.stop()
    equal(waiting.value(), True)


@case("election")
def leaders_one_after_the_other(t):
    leading, order = [], []

    def lead(name):
        leading.append(name)
        order.append(name)
        equal(len(leading), 1)
        time.sleep(0.05)
        leading.remove(name)

    together(t, 4, lambda client, number: client.Election("/election", f"c{number}").run(lead, f"c{number}"))
    equal(sorted(order), ["c0", "c1", "c2", "c3"])


@case("election")
def next_takes_over_when_the_leader_goes(t):
    leads, elected = threading.Event(), threading.Event()
    leader = t.client()
    Task(leader.Election("/election", "first").run, lambda: (leads.set(), time.sleep(60)))
    assert leads.wait(10)
    election = t.zk.Election("/election", "second")
    follower = Task(election.run, elected.set)
    eventually(lambda: election.contenders() == ["first", "second"])
    assert not elected.is_set()
    leader.stop()
    follower.value()
    assert elected.is_set()


@case("election")
def candidate_can_withdraw(t):
    holder = t.client().Lock("/election", "leader")
    holder.acquire()
    election = t.zk.Election("/election", "candidate")
    candidate = Task(election.run, lambda: None)
    eventually(lambda: len(election.contenders()) == 2)
    election.cancel()
    candidate.value()
    eventually(lambda: election.contenders() == ["leader"])


@case("barrier")
def holds_until_removed(t):
    barrier = t.zk.Barrier("/barrier")
    barrier.create()
    waiting = [Task(t.client().Barrier("/barrier").wait) for _ in range(3)]
    assert waiting[0].still_waits()
    equal(barrier.remove(), True)
    equal([task.value() for task in waiting], [True] * 3)
    equal(barrier.remove(), False)


@case("barrier")
def wait_times_out_and_passes_when_absent(t):
    barrier = t.zk.Barrier("/barrier")
    equal(barrier.wait(1), True)
    barrier.create()
    equal(barrier.wait(0.2), False)


@case("double barrier")
def all_enter_and_all_leave(t):
    entered, left = [], []

    def work(client, number):
        barrier = client.DoubleBarrier("/double", 3, f"client {number}")
        time.sleep(0.1 * number)
        barrier.enter()
        equal(barrier.participating, True)
        entered.append(number)
        eventually(lambda: len(entered) == 3)
        barrier.leave()
        left.append(number)

    together(t, 3, work)
    equal((sorted(entered), sorted(left)), ([0, 1, 2], [0, 1, 2]))
    equal(t.zk.get_children("/double"), [])


@case("double barrier")
def nobody_passes_alone(t):
    first = t.client()
    task = Task(first.DoubleBarrier("/double", 2, "a").enter)
    assert task.still_waits()
    second = t.zk.DoubleBarrier("/double", 2, "b")
    second.enter()
    task.value()
    assert t.zk.exists("/double/ready")


@case("party")
def members_come_and_go(t):
    party, other = t.zk.Party("/party", "a"), t.client().Party("/party", "b")
    equal((len(party), list(party)), (0, []))
    party.join()
    other.join()
    equal((len(party), sorted(party), sorted(other)), (2, ["a", "b"], ["a", "b"]))
    party.leave()
    equal((list(other), len(other)), (["b"], 1))
    party.leave()


@case("party")
def closed_members_leave(t):
    member = t.client()
    member.Party("/party", "gone").join()
    party = t.zk.Party("/party", "here")
    party.join()
    member.stop()
    equal(list(party), ["here"])


@case("party")
def shallow_party(t):
    party, other = t.zk.ShallowParty("/shallow", "one"), t.client().ShallowParty("/shallow", "two")
    party.join()
    other.join()
    equal((sorted(party), len(other)), (["one", "two"], 2))
    other.leave()
    equal(list(party), ["one"])


@case("queue")
def order_and_priority(t):
    queue = t.zk.Queue("/queue")
    equal((queue.get(), len(queue)), (None, 0))
    for value, priority in ((b"late", 200), (b"first", 100), (b"second", 100), (b"urgent", 1)):
        queue.put(value, priority)
    equal(len(queue), 4)
    equal([queue.get() for _ in range(5)], [b"urgent", b"first", b"second", b"late", None])


@case("queue")
def each_item_to_one_consumer(t):
    for number in range(40):
        t.zk.Queue("/queue").put(str(number).encode())

    def consume(client, _):
        queue, taken = client.Queue("/queue"), []
        while (item := queue.get()) is not None:
            taken.append(int(item))
        return taken

    taken = together(t, 4, consume)
    equal(sorted(sum(taken, [])), list(range(40)))


@case("locking queue")
def get_holds_until_consumed(t):
    queue, other = t.zk.LockingQueue("/queue"), t.client().LockingQueue("/queue")
    queue.put(b"one")
    queue.put_all([b"two", b"three"])
    equal(len(queue), 3)
    equal((queue.get(5), queue.get(5)), (b"one", b"one"))
    equal((queue.holds_lock(), other.holds_lock()), (True, False))
    equal(other.get(5), b"two")
    equal((queue.consume(), queue.consume()), (True, False))
    equal((other.consume(), len(other)), (True, 1))
    equal(queue.get(5), b"three")


@case("locking queue")
def released_item_goes_to_another(t):
    queue, other = t.zk.LockingQueue("/queue"), t.client().LockingQueue("/queue")
    queue.put(b"item")
    equal(queue.get(5), b"item")
    equal(other.get(0.2), None)
    waiting = Task(other.get, 10)
    assert waiting.still_waits()
    equal(queue.release(), True)
    equal(waiting.value(), b"item")


@case("locking queue")
def priority_and_waiting(t):
    queue = t.zk.LockingQueue("/queue")
    waiting = Task(queue.get, 10)
    assert waiting.still_waits()
    t.client().LockingQueue("/queue").put(b"came", 50)
    equal(waiting.value(), b"came")
    queue.consume()
    queue.put(b"low", 300)
    queue.put(b"high", 3)
    equal(queue.get(5), b"high")


@case("locking queue")
def item_of_a_closed_consumer_returns(t):
    consumer = t.client()
    t.zk.LockingQueue("/queue").put(b"item")
    equal(consumer.LockingQueue("/queue").get(5), b"item")
    consumer.stop()
    equal(t.zk.LockingQueue("/queue").get(10), b"item")


@case("counter")
def adds_and_subtracts(t):
    counter = t.zk.Counter("/counter", default=5)
    equal(counter.value, 5)
    counter += 2
    equal((counter.value, counter.pre_value, counter.post_value), (7, 5, 7))
    counter -= 10
    equal(t.client().Counter("/counter").value, -3)
    equal(t.zk.get("/counter")[0], b"-3")


@case("counter")
def no_addition_is_lost(t):
    def work(client, _):
        counter = client.Counter("/counter")
        counter.client.retry.max_tries = -1
        for _ in range(10):
            counter += 1

    together(t, 4, work)
    equal(t.zk.Counter("/counter").value, 40)


@case("counter")
def floats_and_curator_format(t):
    counter = t.zk.Counter("/float", default=1.5)
    counter += 0.25
    equal(counter.value, 1.75)
    shared = Counter(t.zk, "/curator", support_curator=True)
    shared += 258
    equal((shared.value, t.zk.get("/curator")[0]), (258, b"\x00\x00\x01\x02"))


@case("lease")
def exclusive_until_its_end(t):
    hour = datetime.timedelta(hours=1)
    assert NonBlockingLease(t.zk, "/lease", hour, identifier="a")
    assert not NonBlockingLease(t.client(), "/lease", hour, identifier="b")
    assert NonBlockingLease(t.zk, "/lease", hour, identifier="a")
    later = datetime.datetime.utcnow() + 2 * hour
    assert NonBlockingLease(t.zk, "/lease", hour, identifier="b", utcnow=lambda: later)


@case("lease")
def several_at_once(t):
    hour = datetime.timedelta(hours=1)
    held = [bool(MultiNonBlockingLease(t.zk, 2, "/leases", hour, identifier=name)) for name in ("a", "b", "c")]
    equal(held, [True, True, False])


@case("partitioner")
def members_share_the_set(t):
    everything = {f"part {number}" for number in range(7)}
    partitioners = [t.client().SetPartitioner("/set", set=tuple(everything), time_boundary=0.3, identifier=str(n)) for n in range(3)]
    for partitioner in partitioners:
        partitioner.wait_for_acquire(20)
    eventually(lambda: settled(partitioners), 20)
    shares = [set(partitioner) for partitioner in partitioners]
    equal((set().union(*shares), sum(map(len, shares))), (everything, 7))
    for partitioner in partitioners:
        partitioner.finish()


def settled(partitioners):
    for partitioner in partitioners:
        if partitioner.release:
            partitioner.release_set()
        elif partitioner.allocating:
            partitioner.wait_for_acquire(1)
    return all(partitioner.acquired for partitioner in partitioners)


@case("retry")
def retries_through_a_dropped_connection(t):
    t.zk.create("/a", b"x")
    drop_socket(t.zk)
    equal(t.zk.retry(t.zk.get, "/a")[0], b"x")


@case("retry")
def gives_up_and_passes_other_errors(t):
    raises(NoNodeError, t.zk.retry, t.zk.get, "/missing")
    retry = KazooRetry(max_tries=3, delay=0.01)
    calls = []

    def fails():
        calls.append(1)
        raise ConnectionLoss

    raises(RetryFailedError, retry, fails)
    equal(len(calls), 3)
