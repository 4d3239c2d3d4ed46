"""LikedCounting: counts what devices like, and knows which of the counts changed since when."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.aggregates.pair_counts import (
    RequiredOrigins,
    count_pairs,
    hash_pair_rows,
)
from constellation.core.rows import LikedRows, TermKind
from constellation.core.table.standing import ORIGIN_NUMBERS
from constellation.federated.contribution import LIKED_CONTENTS
from constellation.federated.likes import DictionaryKey, LikeAggregate, LikeCounts, PairRows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from constellation.core.table.shard_table import Table
    from constellation.federated.published_related import Dictionary


_BLOCK_DEVICES: Final = 2048
"""Devices that are counted at once."""


@dataclass(frozen=True, slots=True, eq=False)
class LikedCopy:
    """What the devices of a shard liked at one moment, and what to count of it."""

    rows: LikedRows
    """One row for each contributing device that counts for others."""
    dictionary: DictionaryKey
    positions: NDArray[np.uint16]
    """By content number: its position in the dictionary; the dictionary's size for none."""
    size: int
    """The number of content items in the dictionary."""
    required: RequiredOrigins | None = None
    """The origins that the devices of a pair must have; None when any will do."""


@dataclass(frozen=True, slots=True, eq=False)
class LikedCounts:
    """The counts of one LikedCopy."""

    contributors: int
    likes: LikeCounts
    dictionary: DictionaryKey
    pairs: PairRows
    """A row for each content item of the dictionary."""
    like_hash: bytes
    pair_hashes: NDArray[np.uint64]
    """The hash of each of `pairs`."""


class LikedCounting:
    """Counts the liked content of a shard anew for each pull that asks for it.

    The counts are sums of exactly what is stored at that moment, so a device that was deleted, has
    expired or moved is not in them. Only hashes stay: a row that has the same hash did not change.
    """

    def __init__(
        self, table: Table, liked_limit: int = LIKED_CONTENTS, min_devices: int = 1
    ) -> None:
        self._table = table
        self._min_devices = min_devices
        """What is published needs devices of at least this many origins."""
        self._liked_limit = liked_limit
        """How many of each device's latest liked content items count."""
        self._dictionary: Dictionary | None = None
        """The dictionary that was set last."""
        self._counted_dictionary = DictionaryKey()
        """The dictionary of the last counts."""
        self._effective_since = 0
        """The version of the aggregate in which it took effect."""
        self._like_hash = b""
        self._pair_hashes = np.empty(0, np.uint64)
        self._changed_at = np.empty(0, np.int64)
        """The version of the aggregate that last changed each row of pairs."""

    def set_dictionary(self, dictionary: Dictionary) -> None:
        """Count the pairs of a dictionary from the next counts on."""
        self._dictionary = dictionary

    def copy(self) -> LikedCopy:
        """Return what is to be counted. Runs in a thread while nothing is committed."""
        table, dictionary = self._table, self._dictionary
        content_ids: Sequence[str] = dictionary.content_ids if dictionary is not None else ()
        find, size = table.vocabulary.number, len(content_ids)
        positions = np.full(table.vocabulary.count(TermKind.CONTENT) + 1, size, np.uint16)
        positions[[find(TermKind.CONTENT, each) for each in content_ids]] = np.arange(size)
        positions[0] = size  # also what the vocabulary lacks: no device can like it
        key = dictionary.key if dictionary is not None else DictionaryKey()
        devices = table.liked.list_devices()
        devices = devices[table.counts_for_others(devices)]
        floor, required = table.standing.require_support(self._min_devices), None
        if floor.origins > 1:
            required = RequiredOrigins(floor.origins, table.standing.numbers[devices])
        return LikedCopy(table.liked.read(devices), key, positions, size, required)

    def count(self, copy: LikedCopy) -> LikedCounts:
        """Count a copy. Takes seconds for 100,000 devices: belongs in a thread, beside commits."""
        contents = copy.rows["contents"][:, : self._liked_limit]  # the latest come first
        devices = np.zeros(len(copy.positions), np.int64)
        for start in range(0, len(contents), _BLOCK_DEVICES):  # so that other threads get turns
            counts = np.bincount(contents[start : start + _BLOCK_DEVICES].ravel())
            devices[: len(counts)] += counts
        devices[0] = 0  # padding
        numbers = np.flatnonzero(devices)
        text = self._table.vocabulary.text
        likes = LikeCounts(
            [text(TermKind.CONTENT, number) for number in numbers.tolist()],
            devices[numbers].astype(np.uint32),
            _find_unsupported(contents, numbers, copy.required),
        )
        pairs = count_pairs(contents, copy.positions, copy.size, copy.required)
        return LikedCounts(
            len(contents),
            likes,
            copy.dictionary,
            pairs,
            blake2b(devices.tobytes() + likes.unsupported.tobytes(), digest_size=16).digest(),
            hash_pair_rows(pairs),
        )

    def adopt(self, counts: LikedCounts, version: int) -> bool:
        """Note what differs from the counts before, as of a version; return whether anything does.

        Runs while nothing is committed.
        """
        has_changed = counts.like_hash != self._like_hash
        self._like_hash = counts.like_hash
        if counts.dictionary != self._counted_dictionary:
            self._counted_dictionary = counts.dictionary
            self._effective_since = version
            self._pair_hashes = counts.pair_hashes
            self._changed_at = np.full(len(counts.pairs), version)
            return True
        is_changed = counts.pair_hashes != self._pair_hashes
        self._pair_hashes = counts.pair_hashes
        self._changed_at[is_changed] = version
        return has_changed or bool(is_changed.any())

    def since(self, counts: LikedCounts, base: int) -> LikeAggregate:
        """Return the counts that were adopted last, with the rows of pairs changed after `base`.

        A row without pairs is left out unless it may replace an earlier row.
        """
        may_replace = self._changed_at > self._effective_since
        chosen = (self._changed_at > base) & ((counts.pairs.lengths > 0) | may_replace)
        pairs = counts.pairs
        versioned = PairRows(
            pairs.rows,
            self._changed_at,
            pairs.lengths,
            pairs.columns,
            pairs.devices,
            pairs.unsupported,
        )
        return LikeAggregate(
            counts.contributors,
            counts.likes,
            versioned.select(np.flatnonzero(chosen)),
            counts.dictionary,
            self._effective_since,
            self._liked_limit,
        )


def _find_unsupported(
    contents: NDArray[np.uint32], numbers: NDArray[np.int64], required: RequiredOrigins | None
) -> NDArray[np.bool_]:
    """Return which content items have too few origins; empty when any number will do."""
    if required is None:
        return np.empty(0, np.bool_)
    is_present = np.zeros((int(numbers.max(initial=0)) + 1, ORIGIN_NUMBERS + 1), np.bool_)
    for start in range(0, len(contents), _BLOCK_DEVICES):  # so that other threads get turns
        block = slice(start, start + _BLOCK_DEVICES)
        is_present[contents[block], required.origins[block][:, None]] = True
    found: NDArray[np.int64] = np.count_nonzero(is_present[numbers, 1:], axis=1)
    return found < required.least
