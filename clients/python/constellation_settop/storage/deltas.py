"""Changes to deltas: what concerns the shard, in pieces no larger than it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from constellation.v1 import patterns_pb2 as pb
from constellation_settop.columns import from_patterns
from constellation_settop.values import Changes, Pattern, Signal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from constellation_settop.storage.identity import Facts

MAX_SIGNALS: Final = 4 * 168
"""Four an hour in the window of the trends; older ones no longer count."""


def cut(
    changes: Changes, shared: Collection[bytes], facts: Facts, *, snapshot: bool = False
) -> list[pb.Delta]:
    """Return deltas, not numbered yet; none when nothing concerns the shard.

    `shared` are the ids the shard holds. The first delta of a snapshot is flagged so.
    """
    upserts = [
        learned.pattern
        for learned in changes.learned
        if learned.pattern.success_rate >= facts.quality_threshold
    ]
    kept = {pattern.pattern_id for pattern in upserts}
    gone = [*(learned.pattern.pattern_id for learned in changes.learned), *changes.forgotten]
    removed = [each for each in dict.fromkeys(gone) if each in shared and each not in kept]
    signals = changes.signals[-MAX_SIGNALS:]
    deltas = list(_pieces(upserts, removed, facts.patterns_per_delta))
    if not deltas and (snapshot or signals):
        deltas = [pb.Delta()]
    if deltas:
        deltas[0].snapshot = snapshot
    if signals:
        deltas[0].signals.content_ids.extend(signal.content_id for signal in signals)
        deltas[0].signals.hours.extend(signal.hour for signal in signals)
    return deltas


def _pieces(upserts: Sequence[Pattern], removed: Sequence[bytes], limit: int) -> Iterator[pb.Delta]:
    for start in range(0, len(upserts), limit):
        yield pb.Delta(upserts=from_patterns(upserts[start : start + limit]))
    for start in range(0, len(removed), limit):
        yield pb.Delta(removed_ids=b"".join(removed[start : start + limit]))


def signals_of(delta: pb.Delta) -> list[Signal]:
    return list(map(Signal, delta.signals.content_ids, delta.signals.hours))
