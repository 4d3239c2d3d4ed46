"""Building deltas: the part of local changes that concerns the shard, split to its limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from constellation.v1 import patterns_pb2 as pb
from constellation_settop.columns import from_patterns
from constellation_settop.values import MAX_SIGNALS, LocalChanges, Pattern, Signal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from constellation_settop.storage.identity import DeviceState


def build_deltas(
    changes: LocalChanges,
    shared_ids: Collection[bytes],
    state: DeviceState,
    *,
    is_snapshot: bool = False,
) -> list[pb.Delta]:
    """Return the deltas for some changes, without seqs; none when nothing concerns the shard.

    Patterns below the quality threshold are left out, and removed from the shard when it has them.
    Only the newest MAX_SIGNALS signals are kept.

    Args:
        changes: what the device learned.
        shared_ids: ids of the patterns that the shard has, or will have.
        state: its quality threshold and its patterns per delta apply.
        is_snapshot: mark the first delta as one that replaces all the shard has of the device.
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
    signals = changes.signals[-MAX_SIGNALS:]
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


def to_signals(encoded_delta: bytes) -> list[Signal]:
    """Return the signals of an encoded delta."""
    delta = pb.Delta.FromString(encoded_delta)
    return list(map(Signal, delta.signals.content_ids, delta.signals.hours))
