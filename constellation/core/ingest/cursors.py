"""The rules of seq: which deltas apply, which are duplicates, gaps, or need a resync."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from constellation.core.ingest.deltas import Delta, Verdict


class Cursor(NamedTuple):
    """The last delta of a device that is durable."""

    incarnation: int
    seq: int


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a device that says Hello is told."""

    expected_seq: int
    full_resync: bool


def judge_delta(delta: Delta, cursor: Cursor | None) -> Verdict:
    """Return what becomes of a delta whose device is at `cursor`.

    A snapshot replaces all that is stored, so it may follow a gap; without a cursor of the same
    incarnation only a snapshot, or the very first delta of an unknown device, can apply.
    """
    if cursor is None:
        return Verdict.APPLIED if delta.is_snapshot or delta.seq == 1 else Verdict.RESYNC
    if cursor.incarnation != delta.incarnation:
        return Verdict.APPLIED if delta.is_snapshot else Verdict.RESYNC
    if delta.seq <= cursor.seq:
        return Verdict.DUPLICATE
    if delta.is_snapshot or delta.seq == cursor.seq + 1:
        return Verdict.APPLIED
    return Verdict.GAP


def compute_expectation(
    cursor: Cursor | None, incarnation: int, last_acked_seq: int
) -> Expectation:
    """Return where a device stands that saw `last_acked_seq` acked.

    An ack beyond the cursor means that the store lost commits, to a restored backup for instance.
    """
    if cursor is None:
        return Expectation(last_acked_seq + 1, full_resync=last_acked_seq > 0)
    if cursor.incarnation != incarnation:
        return Expectation(last_acked_seq + 1, full_resync=True)
    if last_acked_seq > cursor.seq:
        return Expectation(last_acked_seq + 1, full_resync=True)
    return Expectation(cursor.seq + 1, full_resync=False)
