"""Changes to deltas: what concerns the shard, in pieces no larger than it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from constellation.v1 import patterns_pb2 as pb
from constellation_settop.columns import from_patterns
from constellation_settop.values import LocalChanges, Pattern, Signal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from constellation_settop.storage.identity import DeviceState

MAX_SIGNALS_PER_DELTA: Final = 4 * 168
"""Four an hour in the window of the trends; older ones no longer count."""


def build_deltas(
    changes: LocalChanges,
    shared_ids: Collection[bytes],
    state: DeviceState,
    *,
    is_snapshot: bool = False,
) -> list[pb.Delta]:
    """Return deltas, not numbered yet; none when nothing concerns the shard.

    `shared` are the ids the shard holds. The first delta of a snapshot is flagged so.
    """
    upserts = [
        learned.pattern
        for learned in changes.learned_patterns
        if learned.pattern.success_rate >= state.quality_threshold
    ]
    upsert_ids = {pattern.pattern_id for pattern in upserts}
    changed_ids = [
        *(learned.pattern.pattern_id for learned in changes.learned_patterns),
        *changes.forgotten_ids,
    ]
    removed_ids = [
        each for each in dict.fromkeys(changed_ids) if each in shared_ids and each not in upsert_ids
    ]
    signals = changes.signals[-MAX_SIGNALS_PER_DELTA:]
    deltas = list(_split_into_deltas(upserts, removed_ids, state.patterns_per_delta))
    if not deltas and (is_snapshot or signals):
        deltas = [pb.Delta()]
    if deltas:
        deltas[0].snapshot = is_snapshot
    if signals:
        deltas[0].signals.content_ids.extend(signal.content_id for signal in signals)
        deltas[0].signals.hours.extend(signal.hour for signal in signals)
    return deltas


def _split_into_deltas(
    upserts: Sequence[Pattern], removed_ids: Sequence[bytes], limit: int
) -> Iterator[pb.Delta]:
    for start in range(0, len(upserts), limit):
        yield pb.Delta(upserts=from_patterns(upserts[start : start + limit]))
    for start in range(0, len(removed_ids), limit):
        yield pb.Delta(removed_ids=b"".join(removed_ids[start : start + limit]))


def to_signals(delta: pb.Delta) -> list[Signal]:
    return list(map(Signal, delta.signals.content_ids, delta.signals.hours))
