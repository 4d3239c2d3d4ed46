"""The rules of sequence numbers: which deltas apply, and which are duplicates, gaps or resyncs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from constellation.core.ingest.deltas import Delta, Verdict

MAX_SEQ_JUMP: Final = 2**20
"""Numbers that a snapshot may skip. Devices skip what they lost, which is a few."""


class Cursor(NamedTuple):
    """Names the last durable delta of a device."""

    incarnation: int
    seq: int


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the shard answers to a device's Hello."""

    expected_seq: int
    """The seq of the next delta that the device should send."""
    full_resync: bool
    """Whether that delta must be a snapshot of all the device's patterns."""


def judge_delta(delta: Delta, cursor: Cursor | None) -> Verdict:
    """Return the verdict on a delta whose device is at `cursor`; None for an unknown device.

    A snapshot replaces everything stored for the device, so it may follow a gap of up to
    MAX_SEQ_JUMP, which keeps numbers for the device to use. Without a cursor
    of the same incarnation, only a snapshot, or the first delta of an unknown device, can apply.
    """
    if cursor is None:
        return Verdict.APPLIED if delta.is_snapshot or delta.seq == 1 else Verdict.RESYNC
    if cursor.incarnation != delta.incarnation:
        return Verdict.APPLIED if delta.is_snapshot else Verdict.RESYNC
    if delta.seq <= cursor.seq:
        return Verdict.DUPLICATE
    is_near = delta.seq <= cursor.seq + MAX_SEQ_JUMP
    if delta.seq == cursor.seq + 1 or (delta.is_snapshot and is_near):
        return Verdict.APPLIED
    return Verdict.GAP


def compute_expectation(
    cursor: Cursor | None, incarnation: int, last_acked_seq: int
) -> Expectation:
    """Return what a device should send next, when the last ack it saw was `last_acked_seq`.

    An ack beyond the cursor means that the store lost commits, for instance because a backup was
    restored.
    """
    if cursor is None:
        return Expectation(last_acked_seq + 1, full_resync=last_acked_seq > 0)
    if cursor.incarnation != incarnation:
        return Expectation(last_acked_seq + 1, full_resync=True)
    if last_acked_seq > cursor.seq:
        return Expectation(last_acked_seq + 1, full_resync=True)
    return Expectation(cursor.seq + 1, full_resync=False)
