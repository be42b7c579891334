"""Decides whether operations on one register could each have taken effect atomically, between their start and their end.

The register is a znode: a value and a version that every write increments. The search is Wing and Gong's, with Lowe's cache of
the (operations done, state) pairs that led nowhere, as in Porcupine. An operation whose outcome is unknown may take effect at any
time after its start, or never.

Two shortcuts keep unknown outcomes from making the search exponential. If a version was observed, its value is known, so the search
tries no other value for it. And unknown writes whose values nobody observed are interchangeable: only the oldest is tried.
"""

import dataclasses
import math

READ, WRITE, CAS = "read", "write", "cas"
OK, FAIL, UNKNOWN = "ok", "fail", "unknown"


@dataclasses.dataclass(frozen=True)
class Op:
    """An operation. `value` was written or read; `version` was read or made by the write; `expected` is the condition of a CAS.

    A failed CAS shows that the version was not `expected`; a failed write shows nothing.
    """

    client: object
    kind: str
    start: float
    end: float
    outcome: str
    value: object = None
    version: int | None = None
    expected: int | None = None

    def __str__(self):
        condition = f" if version {self.expected}" if self.kind == CAS else ""
        made = "" if self.version is None else f" (version {self.version})"
        end = "…" if self.outcome == UNKNOWN else f"{self.end:.4f}"
        return f"[{self.start:.4f}–{end}] {self.client}: {self.kind} {self.value!r}{condition}{made}: {self.outcome}"


def step(state, op):
    """Returns the state after `op`, or None if `op` cannot have had its outcome in this state."""
    value, version = state
    if op.outcome == FAIL:
        return state if version != op.expected else None
    if op.kind == READ:
        return state if op.value == value and op.version in (None, version) else None
    if op.kind == CAS and op.expected != version:
        return None
    return (op.value, version + 1) if op.version in (None, version + 1) else None


class Entry:
    """A start or an end in the list of those not yet explained; `partner` of a start is its end."""

    __slots__ = ("op", "bit", "partner", "blank", "previous", "next")

    def __init__(self, op, bit, partner=None, blank=False):
        self.op, self.bit, self.partner, self.blank = op, bit, partner, blank
        self.previous = self.next = None

    def unlink(self):
        self.previous.next = self.next
        if self.next:
            self.next.previous = self.previous

    def relink(self):
        self.previous.next = self
        if self.next:
            self.next.previous = self


def relevant(op):
    if op.outcome == UNKNOWN:
        return op.kind != READ
    return op.outcome == OK or op.kind == CAS


def listed(ops, seen_values):
    """Returns the head of the list of starts and ends in time order. At equal times the start comes first: the two overlap."""
    moments = []
    for number, op in enumerate(ops):
        known = op.outcome != UNKNOWN
        blank = op.kind == WRITE and not known and op.value not in seen_values
        end = Entry(op, 0) if known else None
        moments.append((op.start, 0, Entry(op, 1 << number, end, blank)))
        if known:
            moments.append((op.end, 1, end))
    head = last = Entry(None, 0)
    for _, _, entry in sorted(moments, key=lambda moment: moment[:2]):
        last.next, entry.previous = entry, last
        last = entry
    return head


def check(history, initial=(None, 0)):
    """Returns None if the history is linearizable from `initial`, and otherwise a description of the violation."""
    ops = [op for op in history if relevant(op)]
    assert all(op.start <= op.end for op in ops)
    value_at = {initial[1]: initial[0]}
    for op in ops:
        if op.outcome == OK and op.version is not None and value_at.setdefault(op.version, op.value) != op.value:
            return f"version {op.version} was both {value_at[op.version]!r} and another: {op}"
    return search(ops, initial, value_at)


def search(ops, state, value_at):
    head = listed(ops, seen_values={op.value for op in ops if op.outcome == OK and op.kind == READ})
    remaining = sum(op.outcome != UNKNOWN for op in ops)
    done, dead_ends, path = 0, set(), []
    furthest = (math.inf, None, None)
    entry, blank_tried = head.next, False
    while remaining:
        if entry.bit:
            after = None if entry.blank and blank_tried else step(state, entry.op)
            if after and value_at.get(after[1], after[0]) == after[0] and (done | entry.bit, after) not in dead_ends:
                dead_ends.add((done | entry.bit, after))
                path.append((entry, state, blank_tried))
                done, state = done | entry.bit, after
                entry.unlink()
                if entry.partner:
                    entry.partner.unlink()
                    remaining -= 1
                entry, blank_tried = head.next, False
                continue
            blank_tried = blank_tried or entry.blank
            entry = entry.next
            continue
        # An operation ended that no choice so far allows: the last choice was wrong.
        if remaining < furthest[0]:
            furthest = (remaining, entry.op, state)
        if not path:
            return f"no order explains {furthest[1]}; the state was {furthest[2]} when {furthest[0]} operations were unexplained"
        entry, state, blank_tried = path.pop()
        done ^= entry.bit
        if entry.partner:
            entry.partner.relink()
            remaining += 1
        entry.relink()
        blank_tried = blank_tried or entry.blank
        entry = entry.next
    return None
