"""What a shard counts of liked content: the devices of each content item, and of each pair."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from constellation.federated.fixed_point import Integers

MAX_DICTIONARY: Final = 8192
"""A dictionary of related content has at most this many content items."""
MAX_NEIGHBOURS: Final = 64
"""A row of related content has at most this many neighbours."""
_NONE: Final = np.empty(0, np.bool_)


@dataclass(frozen=True, slots=True, eq=False)
class LikeCounts:
    """How many contributing devices like each content item that any of them likes."""

    content_ids: Sequence[str]
    """Distinct."""
    devices: NDArray[np.uint32]
    """Shape (n,)."""
    unsupported: NDArray[np.bool_] = field(default_factory=lambda: _NONE)
    """Shape (n,): which content items have devices of too few origins to be shown. Empty for
    none."""


@dataclass(frozen=True, slots=True, eq=False)
class PairRows:
    """How many contributing devices like both content items of a pair, row by row.

    Content items are positions in a dictionary. A row has only columns after it, because the matrix
    is symmetric; it replaces all of its earlier version.
    """

    rows: Integers
    """Shape (n,), ascending and distinct."""
    versions: Integers
    """Shape (n,): the version of the aggregate that last changed each row."""
    lengths: Integers
    """Shape (n,): the number of pairs of each row."""
    columns: NDArray[np.uint16]
    """Shape (m,): the columns of the first row, ascending, then of the second, and so on."""
    devices: NDArray[np.uint32]
    """Shape (m,): the devices of each pair, at least 1."""
    unsupported: NDArray[np.bool_] = field(default_factory=lambda: _NONE)
    """Shape (m,): which pairs have devices of too few origins to be shown. Empty for none."""

    def __len__(self) -> int:
        return len(self.rows)

    def find_starts(self) -> Integers:
        """Return where each row starts in `columns`, and where the last ends: shape (n + 1,)."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.lengths)])

    def select(self, chosen: Integers) -> PairRows:
        """Return the chosen rows, which must be ascending and distinct."""
        is_chosen = np.zeros(len(self), np.bool_)
        is_chosen[chosen] = True
        cells = np.repeat(is_chosen, self.lengths)
        return PairRows(
            self.rows[chosen],
            self.versions[chosen],
            self.lengths[chosen],
            self.columns[cells],
            self.devices[cells],
            self.unsupported[cells] if len(self.unsupported) else _NONE,
        )

    def mark_unsupported(self) -> NDArray[np.bool_]:
        """Return which pairs have devices of too few origins, shape (m,)."""
        return self.unsupported if len(self.unsupported) else np.zeros(len(self.columns), np.bool_)


def no_pairs() -> PairRows:
    empty = np.empty(0, np.int64)
    return PairRows(empty, empty, empty, empty.astype(np.uint16), empty.astype(np.uint32))


def join_pairs(parts: Sequence[PairRows]) -> PairRows:
    """Return the rows of all parts in ascending order, the latest version of each."""
    if len(parts) == 1 and (np.diff(parts[0].rows) > 0).all():
        return parts[0]
    parts = [*parts, no_pairs()]  # there may be none
    rows = np.concatenate([part.rows for part in parts])
    versions = np.concatenate([part.versions for part in parts])
    lengths = np.concatenate([part.lengths for part in parts])
    order = np.lexsort((versions, rows))
    is_last = np.ones(len(order), np.bool_)
    is_last[:-1] = rows[order][1:] != rows[order][:-1]
    chosen = order[is_last]
    starts, ends = (np.cumsum(lengths) - lengths)[chosen], np.cumsum(lengths[chosen])
    moved = np.repeat(starts - (ends - lengths[chosen]), lengths[chosen])
    cells = np.arange(len(moved)) + moved
    unsupported = _NONE
    if any(len(part.unsupported) for part in parts):
        unsupported = np.concatenate([part.mark_unsupported() for part in parts])[cells]
    return PairRows(
        rows[chosen],
        versions[chosen],
        lengths[chosen],
        np.concatenate([part.columns for part in parts])[cells],
        np.concatenate([part.devices for part in parts])[cells],
        unsupported,
    )


@dataclass(frozen=True, slots=True)
class DictionaryKey:
    """Names one version of the dictionary of related content."""

    generation: int = 0
    """Names the federation's journal that made it; versions of two journals are not comparable."""
    version: int = 0
    """Grows with every change within a generation; 0 means that there is no dictionary."""


@dataclass(frozen=True, slots=True, eq=False)
class LikeAggregate:
    """What a shard counts of liked content, as it sends it to its federation."""

    contributors: int
    """Devices that contribute: a fixed sample of the shard's devices."""
    likes: LikeCounts
    """Complete."""
    pairs: PairRows = field(default_factory=no_pairs)
    """The rows that changed since the version on which the update builds."""
    dictionary: DictionaryKey = DictionaryKey()
    """The dictionary on which the pairs are based."""
    dictionary_effective_version: int = 0
    """The version of the aggregate at which it took effect; earlier rows are void."""
    liked_limit: int = 0
    """The most content items of one device that enter likes and pairs; 0 if the shard does not
    say."""
