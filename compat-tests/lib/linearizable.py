"""Decides whether the operations on one register could have taken effect one at a time, each between its start and its end.

The register is a znode: a value and a version that every write raises by one. The search is Wing and Gong's, with Lowe's memory of
the (operations done, state) pairs that led nowhere, as Porcupine does it. An operation of unknown outcome may take effect at any time
after its start, or never.

Two shortcuts keep unknown outcomes from making the search exponential. A version that somebody saw has one value, so nothing
else is tried there. And unknown writes whose values nobody saw are alike: only the oldest is tried.
"""

import dataclasses
import math

READ, WRITE, CAS = "read", "write", "cas"
OK, FAIL, UNKNOWN = "ok", "fail", "unknown"


@dataclasses.dataclass(frozen=True)
class Op:
    """`value` was written or read; `version` is the one read, or the one the write made; `expected` is a CAS's condition.

    A CAS that failed says that the version was not `expected`; a write that failed says nothing.
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
    """The state after `op`, or None where `op` cannot have had its outcome."""
    value, version = state
    if op.outcome == FAIL:
        return state if version != op.expected else None
    if op.kind == READ:
        return state if op.value == value and op.version in (None, version) else None
    if op.kind == CAS and op.expected != version:
        return None
    return (op.value, version + 1) if op.version in (None, version + 1) else None


class Entry:
    """A start or an end in the list of those not yet explained; `partner` is a start's end."""

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
    """The head of the list of starts and ends in time order. Where both fall together the start comes first: they overlap."""
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
    """None if the history is linearizable from `initial`; otherwise what is wrong, in words."""
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
        # An operation ended that nothing so far allows: the last choice was wrong.
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
