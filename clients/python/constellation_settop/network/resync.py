"""When what waits in the outbox is not enough, and the shard needs everything again."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from constellation_settop.storage.outbox import Outbox


def needs_snapshot(outbox: Outbox, expected_seq: int, is_full_resync: bool) -> bool:  # noqa: FBT001  # as in the frames
    """Tell whether the pending deltas cannot bring a shard from `expected_seq` to the end."""
    pending = outbox.pending_deltas
    if is_full_resync:
        return not (pending and pending[0].is_snapshot and pending[0].seq >= expected_seq)
    if expected_seq - 1 > outbox.last_sent_seq:  # the file lost deltas that had been sent
        return True
    ahead = next((each for each in pending if each.seq >= expected_seq), None)
    if ahead is None:  # a shard that came back from a backup misses what is no longer here
        return expected_seq < outbox.next_seq
    return ahead.seq > expected_seq and not ahead.is_snapshot
