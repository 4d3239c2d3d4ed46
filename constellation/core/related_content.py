"""RelatedContent: the rows of related content, and the popular content, for one device."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.rows import TermKind
from constellation.federated.published_related import (
    PopularList,
    PublishedRelated,
    no_related,
    pack_row_ids,
    unpack_row_ids,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from constellation.core.rows import Slots
    from constellation.core.table.shard_table import Table

MAX_HELD_ROWS: Final = 512
"""The most rows of related content that a device holds."""
_PREFIX, _REVISION = 0, 1


@dataclass(frozen=True, slots=True, eq=False)
class RelatedChoice:
    """The rows of related content that a device lacks, and those that it should drop."""

    related: PublishedRelated = field(default_factory=no_related)
    positions: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """Which of `related` it lacks."""
    removed: bytes = b""
    """The ids of the rows that it should drop, 16 bytes each."""
    held: bytes = b""
    """The ids of the rows that it holds afterwards, 16 bytes each."""


@dataclass(frozen=True, slots=True)
class PopularChoice:
    """The lists of popular content that a device lacks, and those that it should drop."""

    missing: Sequence[PopularList] = ()
    removed: frozenset[bytes] = frozenset()
    held: frozenset[bytes] = frozenset()
    """The ids that it holds afterwards."""


class RelatedContent:
    """The published rows, found by content number or by the beginning of an id.

    A device gets the rows of content items that it named itself: as liked, as content of a pattern,
    by the signals of its last hour, or by the id of a row that it holds.
    """

    def __init__(self, table: Table) -> None:
        self.related = no_related()
        self._table = table
        self._positions = np.full(1, -1, np.int32)
        """By content number: the position of its row; -1 for none."""
        self._by_content: dict[str, int] = {}
        """By content id: the position of its row."""
        self._order = np.empty(0, np.int64)
        """The positions of the rows, in the order of their ids' beginnings."""
        self._prefixes = np.empty(0, np.uint64)
        """The beginnings of the ids, ascending."""

    def adopt(self, related: PublishedRelated) -> None:
        """Serve the rows of a new global state."""
        vocabulary = self._table.vocabulary
        texts = [related.content_ids[number] for number in related.contents.tolist()]
        numbers = [vocabulary.number(TermKind.CONTENT, text) for text in texts]
        self._positions = np.full(vocabulary.count(TermKind.CONTENT) + 1, -1, np.int32)
        self._positions[numbers] = np.arange(len(texts))
        self._positions[0] = -1  # what the vocabulary does not have yet
        self._by_content = {text: position for position, text in enumerate(texts)}
        self._order = np.argsort(related.ids[:, _PREFIX], kind="stable")
        self._prefixes = related.ids[self._order, _PREFIX]
        self.related = related

    def choose(self, device: int, held_ids: bytes) -> RelatedChoice:
        """Return the rows that a device lacks, when it holds rows of certain ids, 16 bytes each.

        `device` is a row number, -1 for an unknown device.
        """
        if not len(self.related):
            return RelatedChoice(self.related, removed=held_ids)
        related, held = self.related, unpack_row_ids(held_ids)
        known = self._find_held(held)
        is_current = known >= 0
        is_current[is_current] = related.ids[known[is_current], _REVISION] == held[is_current, 1]
        named = self._find_positions(self._find_named(device))
        wanted = _find_distinct(np.concatenate([named, known[known >= 0]]))[:MAX_HELD_ROWS]
        is_kept = is_current & np.isin(known, wanted)
        lacking = wanted[~np.isin(wanted, known[is_kept])]
        return RelatedChoice(
            related, lacking, pack_row_ids(held[~is_kept]), pack_row_ids(related.ids[wanted])
        )

    def find_devices_with_rows(self, devices: Slots, contents: NDArray[np.int64]) -> Slots:
        """Return the devices that named a content item that has a row."""
        if not len(devices) or not len(self.related):
            return devices[:0]
        return devices[self._find_all(contents) >= 0]

    def _find_named(self, device: int) -> NDArray[np.int64]:
        """Return the numbers of the content items that a device named, the latest liked first."""
        if device < 0:
            return np.empty(0, np.int64)
        table = self._table
        slots = table.list_patterns(device)
        parts = (
            table.devices["signal_contents"][device],
            table.liked.read(np.array([device]))["contents"][0],
            table.patterns["contents"][slots].ravel(),
        )
        return np.concatenate(parts).astype(np.int64)

    def _find_positions(self, contents: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions of the rows of content numbers, without those that have none."""
        found = self._find_all(contents)
        return found[found >= 0]

    def _find_all(self, contents: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the position of the row of each content number; -1 for none."""
        is_new = contents >= len(self._positions)  # numbered since the rows were adopted
        found = self._positions[np.where(is_new, 0, contents)].astype(np.int64)
        for index in np.flatnonzero(is_new).tolist():
            text = self._table.vocabulary.text(TermKind.CONTENT, int(contents[index]))
            found[index] = self._by_content.get(text, -1)
        return found

    def _find_held(self, held: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return for each id the position of the row of the same content item; -1 for none."""
        if not len(self._prefixes):
            return np.full(len(held), -1)
        places = np.searchsorted(self._prefixes, held[:, _PREFIX])
        places = np.minimum(places, len(self._prefixes) - 1)
        is_found = self._prefixes[places] == held[:, _PREFIX]
        return np.where(is_found, self._order[places], -1)


def choose_popular(
    lists: Sequence[PopularList], region: str, held: frozenset[bytes]
) -> PopularChoice:
    """Return which lists a device of a region lacks, when it holds lists of certain ids."""
    wanted = [each for each in lists if each.region in ("", region)]
    ids = frozenset(each.list_id for each in wanted)
    missing = [each for each in wanted if each.list_id not in held]
    return PopularChoice(missing, held - ids, ids)


def _find_distinct(positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each position once, in the order in which they occur first."""
    distinct, first = np.unique(positions, return_index=True)
    return distinct[np.argsort(first)]
