"""Building deltas: the part of local changes that concerns the shard, split to its limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from constellation.v1 import patterns_pb2 as pb
from constellation_settop.columns import from_patterns
from constellation_settop.values import MAX_SIGNALS, LocalChanges, Pattern, Signal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from constellation_settop.storage.identity import DeviceState


MAX_WITHDRAWN: Final = 128
"""The most withdrawn content items in one delta."""


def build_deltas(
    changes: LocalChanges, shared_ids: Collection[bytes], state: DeviceState
) -> list[pb.Delta]:
    """Return the deltas for some changes, without seqs; none when nothing concerns the shard.

    Patterns below the quality threshold are left out, and removed from the shard when it has them.
    Only the newest MAX_SIGNALS signals are kept.

    Args:
        changes: what the device learned.
        shared_ids: ids of the patterns that the shard has, or will have.
        state: its quality threshold and its patterns per delta apply.
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
    deltas = list(_split_into_deltas(upserts, removed_ids, state.patterns_per_delta))
    if not deltas and (changes.signals or changes.withdrawn_ids):
        deltas = [pb.Delta()]
    if deltas:
        _add_signals(deltas[0], changes.signals)
        deltas[0].withdrawn_content_ids.extend(changes.withdrawn_ids[:MAX_WITHDRAWN])
    for start in range(MAX_WITHDRAWN, len(changes.withdrawn_ids), MAX_WITHDRAWN):
        rest = changes.withdrawn_ids[start : start + MAX_WITHDRAWN]
        deltas.append(pb.Delta(withdrawn_content_ids=rest))
    return deltas


def merge_changes(changes: Sequence[LocalChanges]) -> LocalChanges:
    """Return what several profiles learned as that of one, for the shard, which knows no profiles.

    A signal that several of them give counts once.
    """
    signals = dict.fromkeys(signal for each in changes for signal in each.signals)
    return LocalChanges(
        [learned for each in changes for learned in each.learned_patterns],
        [pattern_id for each in changes for pattern_id in each.forgotten_ids],
        sorted(signals, key=lambda signal: signal.hour),
        withdrawn_ids=list(dict.fromkeys(gone for each in changes for gone in each.withdrawn_ids)),
    )


def build_snapshot(
    patterns: Sequence[Pattern],
    signals: Sequence[Signal],
    liked_ids: Sequence[str],
    patterns_per_delta: int,
) -> list[pb.Delta]:
    """Return deltas, without seqs, that replace all that the shard has of the device.

    `liked_ids` are the latest liked content items, the oldest first. Patterns that do not fit into
    the first delta follow in others. Only the newest MAX_SIGNALS signals are kept.
    """
    deltas = list(_split_into_deltas(patterns, [], patterns_per_delta)) or [pb.Delta()]
    deltas[0].snapshot = True
    deltas[0].liked_content_ids.extend(liked_ids)
    _add_signals(deltas[0], signals)
    return deltas


def _add_signals(delta: pb.Delta, signals: Sequence[Signal]) -> None:
    newest = signals[-MAX_SIGNALS:]
    if newest:  # a message that is touched is present on the wire
        delta.signals.content_ids.extend(signal.content_id for signal in newest)
        delta.signals.hours.extend(signal.hour for signal in newest)


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
