"""What is known of one shard's liked content, joined from its answers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from constellation.federated.likes import DictionaryKey, PairRows, join_pairs, no_pairs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.federated.aggregate import AggregateVersion
    from constellation.federated.fixed_point import Integers


@dataclass(frozen=True, slots=True, eq=False)
class ShardLikes:
    """What one shard counts of liked content: of one answer, or of all answers joined."""

    version: AggregateVersion
    """The version of the aggregate that had these likes and pairs."""
    contributors: int
    """Devices that contribute."""
    contents: Integers
    """Shape (n,): the content items, as numbers of a `Terms`."""
    devices: Integers
    """Shape (n,): how many contributing devices like each of `contents`."""
    dictionary: DictionaryKey
    """The dictionary on which the pairs are based."""
    dictionary_effective_version: int
    pairs: PairRows
    arrivals: Integers
    """For each row of `pairs`: the version of the answer that brought it."""
    liked_limit: int = 0
    """The most content items of one device that enter them; 0 if the shard does not say."""
    unsupported: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))
    """Shape (n,): which content items have devices of too few origins to count. Empty for none."""

    def count_supported(self) -> Integers:
        """Return how many devices of each content item count for what is published."""
        return self.devices * ~self.unsupported if len(self.unsupported) else self.devices

    def select_changes(self, base: int) -> PairRows:
        """Return the rows of pairs that arrived after version `base`."""
        return self.pairs.select(np.flatnonzero(self.arrivals > base))


class LikesRefusedError(ValueError):
    """An answer that contradicts what is known of the shard's liked content."""


def join_likes(
    known: ShardLikes | None, update: ShardLikes | None, base_version: int
) -> ShardLikes | None:
    """Return what is known of a shard's liked content after an answer.

    `update` has the rows of pairs that changed after `base_version`, or all rows if that is 0; None
    when the answer had neither likes nor pairs. Raises LikesRefusedError if it builds on a version
    that is not known.
    """
    if update is None:
        return known
    if known is not None and known.version > update.version:
        return known
    is_same_epoch = known is not None and known.version.epoch == update.version.epoch
    if base_version and (
        known is None or not is_same_epoch or known.version.version < base_version
    ):
        raise LikesRefusedError(
            f"builds its pairs on version {base_version}, which is not known here"
        )
    return _join_rows(known, update, is_whole=not base_version)


def _join_rows(known: ShardLikes | None, update: ShardLikes, *, is_whole: bool) -> ShardLikes:
    """Return the update with the rows of pairs that it leaves as they were.

    A row that a whole update no longer has becomes a row without pairs: a federation above that
    holds it must hear of it.
    """
    valid = update.pairs.select(
        np.flatnonzero(update.pairs.versions >= update.dictionary_effective_version)
    )
    before, arrivals = no_pairs(), np.empty(0, np.int64)
    if known is not None and known.dictionary == update.dictionary:
        is_kept = ~np.isin(known.pairs.rows, valid.rows)
        before, arrivals = known.pairs.select(np.flatnonzero(is_kept)), known.arrivals[is_kept]
    if is_whole:
        before = _empty_rows(before, update.version.version)
        arrivals = np.full(len(before), update.version.version)
    pairs = join_pairs([before, valid])
    joined = np.full(len(pairs), update.version.version)
    joined[np.searchsorted(pairs.rows, before.rows)] = arrivals
    return replace(update, pairs=pairs, arrivals=joined)


def _empty_rows(pairs: PairRows, version: int) -> PairRows:
    return PairRows(
        pairs.rows,
        np.full(len(pairs), version),
        np.zeros(len(pairs), np.int64),
        pairs.columns[:0],
        pairs.devices[:0],
    )


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A pair with more devices than one of its content items, or beyond the dictionary."""

    row: int
    column: int
    devices: int
    """The devices of the pair."""
    limit: int
    """The devices of the content item that fewer like."""


def find_contradiction(likes: ShardLikes, positions: Integers) -> Contradiction | None:
    """Return an impossible pair; None if there is none.

    `positions` are the dictionary's content items, as numbers of the same `Terms` as `likes`; -1
    for one that those lack.
    """
    devices = count_at(likes, positions)
    starts = likes.pairs.find_starts()
    for index, row in enumerate(likes.pairs.rows.tolist()):
        cells = slice(starts[index], starts[index + 1])
        columns = likes.pairs.columns[cells].astype(np.int64)
        if len(columns) and columns[-1] >= len(positions):
            return Contradiction(row, int(columns[-1]), 0, 0)
        limits = np.minimum(devices[row], devices[columns])
        is_wrong = likes.pairs.devices[cells] > limits
        if is_wrong.any():
            first = int(np.argmax(is_wrong))
            found = int(likes.pairs.devices[cells][first])
            return Contradiction(row, int(columns[first]), found, int(limits[first]))
    return None


def count_at(likes: ShardLikes, contents: Integers) -> Integers:
    """Return how many devices like each of the given content items; 0 for one that nobody likes."""
    devices = np.zeros(len(contents), np.int64)
    order = np.argsort(likes.contents)
    ordered = likes.contents[order]
    places = np.searchsorted(ordered, contents)
    inside = np.flatnonzero(places < len(ordered))
    found = inside[ordered[places[inside]] == contents[inside]]
    devices[found] = likes.devices[order[places[found]]]
    return devices
