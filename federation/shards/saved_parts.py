"""Saved parts: what the journal has of each shard's aggregate, and what it lacks.

The journal keeps an aggregate in parts, by number. The sums of a shard are one part, which is
large. Later rounds add parts with only what changed since the last one; from time to time the sums
are saved whole again, and the parts with changes are removed.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from constellation.federated.aggregate import AggregateVersion
from federation.merge.aggregates import select_changes
from federation.shards.relay import from_aggregate, from_likes, to_aggregate, to_likes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from federation.merge.aggregates import ShardAggregate
    from federation.merge.terms import Terms

LIKES_PART: Final = 2**32
"""Added to a shard_id, it names the shard's likes and pairs. They are large and change once a day;
the sums, which are saved apart from them, change in each round."""
CHANGES_PART: Final = 2 * LIKES_PART
"""Added to a shard_id, it names the first part with changes of the shard's sums; the next one is
LIKES_PART further."""
MAX_CHANGE_PARTS: Final = 8
"""Parts with changes that one shard has at most. In each save, one shard in so many is saved whole,
so that no save writes all of them."""
_NEVER_SAVED: Final = 0
"""An epoch that no shard has."""


@dataclass(frozen=True, slots=True, eq=False)
class PartChanges:
    """What a save writes to the journal, and what it removes from it."""

    written: Mapping[int, bytes]
    """By their numbers: the parts that are new or changed."""
    removed: Sequence[int] = ()
    """The numbers of the parts that are no longer needed; the journal may lack some."""


@dataclass(frozen=True, slots=True)
class RestoredAggregates:
    """What the parts of a journal make."""

    aggregates: Mapping[int, ShardAggregate]
    """By shard_id."""
    unknown_parts: Sequence[int]
    """The parts of shards whose address is no longer configured."""


@dataclass(frozen=True, slots=True)
class _SavedSums:
    """What the journal has of a shard's sums."""

    version: AggregateVersion
    change_parts: int = 0


@dataclass(slots=True, eq=False)
class SavedParts:
    """Keeps account of what the journal has, so that a save writes only what it lacks."""

    _saved: dict[int, _SavedSums] = field(default_factory=dict)
    """By shard_id."""
    _changed: set[int] = field(default_factory=set)
    """The shards whose sums differ from those in the journal, and with LIKES_PART, whose likes."""
    _turn: int = 0

    def restore(
        self, stored: Mapping[int, bytes], terms: Terms, addresses: set[str]
    ) -> RestoredAggregates:
        """Return the aggregates that the journal has of shards at these addresses."""
        by_shard: defaultdict[int, list[int]] = defaultdict(list)
        for part in sorted(stored):  # the sums of a shard, then its likes, then its changes
            by_shard[part % LIKES_PART].append(part)
        aggregates: dict[int, ShardAggregate] = {}
        unknown: list[int] = []
        for shard_id, parts in by_shard.items():
            aggregate = _read_aggregate(stored, parts, terms) if parts[0] == shard_id else None
            if aggregate is None or aggregate.address not in addresses:
                unknown += parts
                continue
            aggregates[shard_id] = aggregate
            change_parts = sum(part >= CHANGES_PART for part in parts)
            self._saved[shard_id] = _SavedSums(aggregate.version, change_parts)
        return RestoredAggregates(aggregates, unknown)

    def note_change(self, shard_id: int, *, has_likes: bool, is_restarted: bool) -> None:
        """Note that a shard's sums changed, and its likes if `has_likes`.

        If `is_restarted`, what the journal has of the sums is no longer a base for changes.
        """
        self._changed.add(shard_id)
        if has_likes:
            self._changed.add(shard_id + LIKES_PART)
        if is_restarted:
            self._forget_version(shard_id)

    def take_changes(self, aggregates: Mapping[int, ShardAggregate], terms: Terms) -> PartChanges:
        """Return what the journal lacks, and count it as saved."""
        changed, self._changed = self._changed, set()
        self._turn = (self._turn + 1) % MAX_CHANGE_PARTS
        written: dict[int, bytes] = {}
        removed: list[int] = []
        for part in sorted(changed):
            shard_id = part % LIKES_PART
            aggregate = aggregates[shard_id]
            if part >= LIKES_PART:
                written[part] = from_likes(aggregate, terms)
                continue
            saved = self._saved.get(shard_id)
            base = self._find_base(saved, aggregate)
            change_parts = saved.change_parts if saved is not None else 0
            if base:
                part += CHANGES_PART + change_parts * LIKES_PART  # noqa: PLW2901 - the part's number
                self._saved[shard_id] = _SavedSums(aggregate.version, change_parts + 1)
            else:
                removed += _list_change_parts(shard_id, change_parts)
                self._saved[shard_id] = _SavedSums(aggregate.version)
            written[part] = from_aggregate(aggregate, terms, base)
        return PartChanges(written, removed)

    def put_back(self, changes: PartChanges) -> None:
        """Count these changes as not saved: the save failed. The next one writes sums whole."""
        for part in (*changes.written, *changes.removed):
            shard_id = part % LIKES_PART
            is_likes = part // LIKES_PART == 1
            self._changed.add(part if is_likes else shard_id)
            if not is_likes:
                self._forget_version(shard_id)

    def _forget_version(self, shard_id: int) -> None:
        """Let the next save write the sums of a shard whole, and remove all of its changes."""
        if shard_id in self._saved:
            self._saved[shard_id] = _SavedSums(
                AggregateVersion(shard_id, _NEVER_SAVED, 0), MAX_CHANGE_PARTS
            )

    def _find_base(self, saved: _SavedSums | None, aggregate: ShardAggregate) -> int:
        """Return the version on which the saved changes can build; 0 to save the sums whole."""
        if saved is None or saved.version.epoch != aggregate.version.epoch:
            return 0
        is_turn = aggregate.version.shard_id % MAX_CHANGE_PARTS == self._turn
        if saved.change_parts >= MAX_CHANGE_PARTS or (saved.change_parts and is_turn):
            return 0
        clusters, _, base = select_changes(aggregate, saved.version.version)
        return base if 2 * len(clusters) <= len(aggregate.clusters) else 0


def _read_aggregate(
    stored: Mapping[int, bytes], parts: Sequence[int], terms: Terms
) -> ShardAggregate:
    """Return the aggregate of one shard from its parts, ascending; the first one has its sums."""
    aggregate = to_aggregate(stored[parts[0]], terms)
    for part in parts[1:]:
        if part >= CHANGES_PART:
            aggregate = to_aggregate(stored[part], terms, aggregate)
        else:
            aggregate = replace(aggregate, likes=to_likes(stored[part], terms))
    return aggregate


def _list_change_parts(shard_id: int, count: int) -> list[int]:
    return [shard_id + CHANGES_PART + number * LIKES_PART for number in range(count)]
