"""Tests the checker with histories known to be good or bad, and against a search that tries every order."""

import itertools
import math
import random
import time
import unittest

from linearizable import CAS, FAIL, OK, READ, UNKNOWN, WRITE, Op, check, relevant, step


def read(start, end, value, version=None, client="r"):
    return Op(client, READ, start, end, OK, value, version)


def write(start, end, value, version=None, outcome=OK):
    return Op("w", WRITE, start, end, outcome, value, version)


def cas(start, end, expected, value, outcome=OK, version=None):
    return Op("c", CAS, start, end, outcome, value, version, expected)


class GoodHistories(unittest.TestCase):
    def assert_good(self, *history):
        self.assertIsNone(check(history))

    def test_nothing_happened(self):
        self.assert_good(read(0, 1, None, 0))

    def test_concurrent_read_sees_old_or_new(self):
        self.assert_good(write(0, 10, "a"), read(1, 2, None), read(3, 4, "a"))

    def test_unknown_write_never_happened(self):
        self.assert_good(write(0, 1, "a", outcome=UNKNOWN), read(2, 3, None, 0))

    def test_unknown_write_happens_late(self):
        self.assert_good(write(0, 1, "a", outcome=UNKNOWN), read(2, 3, None), write(4, 5, "b"), read(6, 7, "b"), read(8, 9, "a"))

    def test_unseen_unknown_write_fills_a_gap_of_versions(self):
        self.assert_good(write(0, 1, "a", outcome=UNKNOWN), write(2, 3, "b", version=2), read(4, 5, "b", 2))

    def test_cas_one_of_two_wins(self):
        self.assert_good(cas(0, 2, 0, "a"), cas(0, 2, 0, "b", FAIL), read(3, 4, "a", 1))

    def test_failed_cas_before_the_write_that_made_its_version(self):
        self.assert_good(cas(0, 5, 1, "b", FAIL), write(1, 2, "a", 1))

    def test_many_unknown_writes_stay_cheap(self):
        history = [write(at, at, f"lost-{at}", outcome=UNKNOWN) for at in range(200)]
        history += [write(300 + at, 300 + at, f"kept-{at}", version=2 * at + 2) for at in range(100)]
        started = time.process_time()
        self.assert_good(*history)
        self.assertLess(time.process_time() - started, 5)


class BadHistories(unittest.TestCase):
    def assert_bad(self, *history):
        self.assertIsNotNone(check(history))

    def test_stale_read(self):
        self.assert_bad(write(0, 1, "a"), read(2, 3, None))

    def test_stale_read_by_version(self):
        self.assert_bad(write(0, 1, "a", 1), write(2, 3, "a", 2), read(4, 5, "a", 1))

    def test_lost_update(self):
        self.assert_bad(write(0, 1, "a", 1), write(2, 3, "b", 1), read(4, 5, "b", 1))

    def test_lost_update_by_cas(self):
        self.assert_bad(cas(0, 1, 0, "a"), cas(2, 3, 0, "b"))

    def test_double_apply(self):
        self.assert_bad(write(0, 1, "a", 1), write(2, 3, "b", 3), read(4, 5, "b", 3))

    def test_unknown_write_applied_twice(self):
        self.assert_bad(write(0, 1, "a", outcome=UNKNOWN), read(2, 3, "a", 1), write(4, 5, "b", 2), read(6, 7, "a", 3))

    def test_resurrected_write(self):
        self.assert_bad(write(0, 1, "a"), write(2, 3, "b"), read(4, 5, "b"), read(6, 7, "a"))

    def test_failed_write_happened(self):
        self.assert_bad(write(0, 1, "a", outcome=FAIL), read(2, 3, "a"))

    def test_unknown_write_seen_and_gone(self):
        self.assert_bad(write(0, 1, "a", outcome=UNKNOWN), read(2, 3, "a"), read(4, 5, None))

    def test_cyclic(self):
        """Two readers see two concurrent writes in opposite orders."""
        self.assert_bad(
            write(0, 100, "a"), write(0, 100, "b"), read(1, 2, "a"), read(3, 4, "b"), read(5, 6, "a", client="other")
        )

    def test_value_out_of_thin_air(self):
        self.assert_bad(read(0, 1, "x"))

    def test_cas_fails_for_no_reason(self):
        self.assert_bad(cas(0, 1, 0, "a", FAIL))

    def test_read_before_its_write(self):
        self.assert_bad(read(0, 1, "a"), write(2, 3, "a"))

    def test_two_values_at_one_version(self):
        self.assert_bad(write(0, 9, "a"), write(0, 9, "b"), read(1, 2, "a", 1), read(1, 2, "b", 1))


class AgainstEveryOrder(unittest.TestCase):
    def test_small_random_histories(self):
        rng = random.Random(1)
        verdicts = [0, 0]
        for _ in range(6000):
            history = [random_op(rng) for _ in range(rng.randint(2, 5))]
            expected = some_order_explains([op for op in history if relevant(op)], (None, 0))
            self.assertEqual(check(history) is None, expected, "\n".join(map(str, history)))
            verdicts[expected] += 1
        self.assertGreater(min(verdicts), 500)

    def test_long_histories_of_a_real_register(self):
        """Checks that the history of a correct register is accepted, and rejected once one read in it is falsified."""
        for seed in range(20):
            rng = random.Random(seed)
            history = simulated(rng, clients=6, ops=600)
            self.assertIsNone(check(history))
            reads = [at for at, op in enumerate(history) if op.kind == READ and op.version]
            at = rng.choice(reads)
            history[at] = Op(**{**vars(history[at]), "version": history[at].version + 40})
            self.assertIsNotNone(check(history))


def random_op(rng):
    start = rng.randint(0, 8)
    end = start + rng.randint(0, 4)
    kind = rng.choice((READ, WRITE, CAS))
    outcome = rng.choice((OK, OK, OK, FAIL, UNKNOWN)) if kind != READ else OK
    version = rng.choice((None, None, rng.randint(0, 3)))
    value = rng.choice("ab" if kind != READ else ("a", "b", None))
    return Op("x", kind, start, end, outcome, value, version if outcome == OK else None, rng.randint(0, 2) if kind == CAS else None)


def some_order_explains(ops, state):
    """Applies the definition: some subset with all known operations is valid in some order that respects real time."""
    known = [op for op in ops if op.outcome != UNKNOWN]
    unknown = [op for op in ops if op.outcome == UNKNOWN]
    subsets = itertools.chain.from_iterable(itertools.combinations(unknown, count) for count in range(len(unknown) + 1))
    return any(explains(order, state) for subset in subsets for order in itertools.permutations([*known, *subset]))


def explains(order, state):
    latest_start = -math.inf
    for op in order:
        if op.outcome != UNKNOWN and op.end < latest_start:
            return False
        latest_start = max(latest_start, op.start)
        state = step(state, op)
        if state is None:
            return False
    return True


def simulated(rng, clients, ops):
    """Returns operations of concurrent clients on a register that does each at one moment between its start and its end."""
    moments = []
    for client in range(clients):
        at = rng.random()
        for _ in range(ops // clients):
            start, point = at, at + rng.random()
            at = point + rng.random()
            moments.append((point, client, start, at))
    value, version, history = None, 0, []
    for number, (_, client, start, end) in enumerate(sorted(moments)):
        kind = rng.choice((READ, READ, WRITE, CAS))
        lost = kind != READ and rng.random() < 0.1
        if kind == READ:
            history.append(Op(client, kind, start, end, OK, value, version))
            continue
        expected = version - rng.choice((0, 0, 1)) if kind == CAS else None
        applied = (kind == WRITE or expected == version) and not (lost and rng.random() < 0.5)
        if applied:
            value, version = number, version + 1
        outcome = UNKNOWN if lost else OK if applied else FAIL
        history.append(Op(client, kind, start, end, outcome, number, version if outcome == OK else None, expected))
    return history


if __name__ == "__main__":
    unittest.main()
