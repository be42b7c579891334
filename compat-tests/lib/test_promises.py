"""Tests the judge of fault runs with broken promises of every kind: it must name each, and must accept the unbroken run."""

import dataclasses
import sys
import threading
import unittest
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / ".work" / "kazoo"))

from linearizable import OK, UNKNOWN, WRITE, Op  # noqa: E402
from promises import Dump, Judge, differences, disorder  # noqa: E402
from workload import COUNTER, REGISTERS, Acknowledged, Record, Worker  # noqa: E402


@dataclasses.dataclass(frozen=True)
class Stat:
    version: int = 0
    mzxid: int = 1
    ephemeralOwner: int = 0  # noqa: N815: Kazoo's name


SESSION = 0x77


def worker(**named):
    made = Worker.__new__(Worker)
    threading.Thread.__init__(made, name="client-0")
    made.ephemeral, made.session, made.sessions_lost, made.plain_reads = "/eph/client-0", SESSION, 0, []
    made.client = SimpleNamespace(client_id=(SESSION, b""))
    vars(made).update(named)
    return made


class JudgeTest(unittest.TestCase):
    def setUp(self):
        self.record, self.worker = Record(), worker()
        self.tree = {path: (b"initial", Stat()) for path in REGISTERS}
        self.tree[COUNTER] = (b"0", Stat())
        self.tree["/eph/client-0"] = (b"", Stat(ephemeralOwner=SESSION))
        self.judge = Judge(self.record, [self.worker])

    def verdict(self, *trees):
        trees = trees or (self.tree, self.tree)
        return self.judge.judge({number: Dump(tree, 100, 101) for number, tree in enumerate(trees, start=1)}, [])

    def assert_complaint(self, words, *trees):
        found = self.verdict(*trees)
        self.assertTrue(any(words in complaint for complaint in found), found)

    def wrote(self, value, version, outcome=OK):
        op = Op("client-0", WRITE, 1, 2, outcome, value, version if outcome == OK else None)
        self.record.registers[REGISTERS[0]].append(op)

    def test_nothing_broken(self):
        self.assertEqual(self.verdict(), [])

    def test_write_of_unknown_outcome_may_arrive_a_round_later(self):
        self.wrote("late", 1, UNKNOWN)
        self.assertEqual(self.verdict(), [])
        self.tree[REGISTERS[0]] = (b"late", Stat(version=1, mzxid=9))
        self.assertEqual(self.verdict(), [])
        self.assertEqual(self.verdict(), [])
        self.tree[REGISTERS[0]] = (b"initial", Stat(version=2, mzxid=10))
        self.assert_complaint("not linearizable")

    def test_acknowledged_write_is_lost(self):
        self.wrote("kept", 1)
        self.assert_complaint("not linearizable")

    def test_register_is_gone(self):
        del self.tree[REGISTERS[2]]
        self.assert_complaint("is gone on server 2")

    def test_versions_fork(self):
        other = {**self.tree, REGISTERS[0]: (b"initial", Stat(mzxid=5))}
        self.assert_complaint("to another", self.tree, other)

    def test_acknowledged_create_is_lost(self):
        self.record.znodes["/plain/x"] = "x"
        self.assert_complaint("/plain/x should be 'x'")

    def test_deleted_znode_is_back(self):
        self.record.znodes["/plain/x"] = None
        self.tree["/plain/x"] = (b"x", Stat())
        self.assert_complaint("should be None")

    def test_sequential_create_done_twice(self):
        self.record.znodes["/seq/q-1"] = "x"
        self.tree |= {"/seq/q-1": (b"x", Stat()), "/seq/q-2": (b"x", Stat())}
        self.assert_complaint("created 2 times")

    def test_sequential_create_of_unknown_outcome(self):
        self.record.open_ids.add("x")
        self.tree["/seq/q-1"] = (b"x", Stat())
        self.assertEqual(self.verdict(), [])
        self.tree["/seq/q-2"] = (b"nobody's", Stat())
        self.assert_complaint("nobody's, or a create done a second time")

    def test_half_a_transaction(self):
        self.record.pairs.append(["/multi/a", "/multi/b"])
        self.tree["/multi/b"] = (b"x", Stat())
        self.assert_complaint("half of a transaction")

    def test_counter_outside_of_what_was_acknowledged(self):
        self.record.increments, self.record.open_increments = 1, 1
        self.assert_complaint("the counter is 0")

    def test_session_lost(self):
        self.worker.client.client_id = (0x78, b"")
        self.assert_complaint("lost its session")

    def test_ephemeral_lost(self):
        del self.tree["/eph/client-0"]
        self.assert_complaint("lost its ephemeral")

    def test_plain_read_older_than_what_the_session_saw(self):
        path = REGISTERS[0]
        self.tree[path] = (b"new", Stat(version=1, mzxid=8))
        self.wrote("new", 1)
        self.worker.plain_reads = [(path, 7, 1, 0, "initial")]
        self.assertEqual(self.verdict(), [])
        self.worker.plain_reads = [(path, 8, 1, 0, "initial")]
        self.assert_complaint("had seen zxid 0x8")

    def test_servers_differ(self):
        self.assertEqual(list(differences({1: self.tree, 2: dict(self.tree)})), [])
        del (other := dict(self.tree))[COUNTER]
        self.assertEqual(len(list(differences({1: self.tree, 2: other}))), 1)
        self.assertEqual(len(list(differences({1: other, 2: self.tree}))), 1)


class DisorderTest(unittest.TestCase):
    def test_overlapping_writes_have_any_order(self):
        self.assertEqual(list(disorder([Acknowledged(0, 5, 2, "a"), Acknowledged(1, 6, 1, "b")], "zxid")), [])

    def test_later_write_has_the_lower_zxid(self):
        self.assertEqual(len(list(disorder([Acknowledged(0, 1, 2, "a"), Acknowledged(3, 4, 1, "b")], "zxid"))), 1)

    def test_same_zxid_twice(self):
        self.assertEqual(len(list(disorder([Acknowledged(0, 5, 1, "a"), Acknowledged(0, 5, 1, "b")], "zxid"))), 1)


if __name__ == "__main__":
    unittest.main()
