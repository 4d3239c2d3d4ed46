"""ContentBudget: which new content ids of a group of deltas enter the vocabulary.

A shard has a number for each content id that anybody ever named. Without a budget, one device that
makes up names would use all of them, and every other device would be rejected. Genres have no
budget, because devices cannot add any: only the catalogue does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from constellation.core.distinct import find_distinct
from constellation.core.rows import TermKind
from constellation.core.table.vocabulary import PendingTerms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from constellation.core.rows import Slots
    from constellation.core.table.shard_table import Table


@dataclass(frozen=True, slots=True, eq=False)
class NewContentNames:
    """The occurrences in patterns of content ids that the vocabulary lacks. Each has shape (n,)."""

    rows: NDArray[np.int64]
    """The row of the pattern."""
    devices: NDArray[np.int64]
    """The position of the pattern's device in the budget."""
    contents: NDArray[np.int64]
    """A number for each distinct new content id."""

    def select(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> NewContentNames:
        return NewContentNames(self.rows[chosen], self.devices[chosen], self.contents[chosen])


@dataclass(frozen=True, slots=True, eq=False)
class ContentCharge:
    """What a commit makes of the counts of new content ids."""

    devices: Slots
    hour: int
    counts: NDArray[np.int64]
    """Shape (n,): the new content ids of each device in this hour."""

    def apply(self, table: Table) -> None:
        """Remember the counts, once the commit is durable."""
        table.new_contents.write(self.devices, self.hour, self.counts)


class ContentBudget:
    """What the devices of one group of deltas may still add to the vocabulary in this hour.

    Every device whose patterns name a new content id pays for it, so that what becomes of its
    patterns does not depend on the other devices. The signals of a group come first: an id that a
    signal has paid for is no longer new, and costs the patterns of the group nothing. Devices are
    named by their position in the group. They never use the numbers that a catalogue of
    `max_contents` items may still need.
    """

    def __init__(
        self, table: Table, devices: Slots, hour: int, most: int, *, max_contents: int = 0
    ) -> None:
        reserved = max(0, max_contents - table.content_count)
        self.pending = PendingTerms(table.vocabulary, reserved_contents=reserved)
        """The new content ids for which somebody paid."""
        self._before = table.new_contents
        self._devices = devices
        self._hour = hour
        self._most = most
        self._counts: NDArray[np.int64] | None = None
        """The counts with those of this group; None as long as nobody named a new content id."""

    def number_content(self, device: int, text: str) -> int:
        """Return the number of a content id; 0 when it is new and the device may not add it."""
        (number,) = self.pending.find_numbers(TermKind.CONTENT, [text])
        if number:
            return number
        counts = self._read_counts()
        if counts[device] >= self._most:
            return 0
        counts[device] += 1
        (number,) = self.pending.assign_numbers(TermKind.CONTENT, [text])
        return number

    def find_contents(self, texts: Sequence[str]) -> list[int]:
        """Return the numbers of content ids; 0 for new ones, which stay new."""
        return self.pending.find_numbers(TermKind.CONTENT, texts)

    def admit(self, names: NewContentNames) -> NDArray[np.int64]:
        """Pay for new content ids of patterns; return the rows that are beyond a device's budget.

        The ids of a device count in the order of its rows. A row with an id beyond the budget costs
        nothing, and none of its ids is added for it.
        """
        counts = self._read_counts()
        names = names.select(np.argsort(names.rows, kind="stable"))
        first, inverse = _find_distinct(names)
        distinct = names.select(first)
        fits = _has_room(distinct.devices, self._most - counts)

        beyond = find_distinct(names.rows[~fits[inverse]])
        self._pay(names.select(~np.isin(names.rows, beyond)))
        return beyond

    def charge(self, positions: list[int], slots: Slots) -> ContentCharge | None:
        """Return what to remember for devices, and their row numbers; None when nothing is new."""
        if self._counts is None:
            return None
        return ContentCharge(slots, self._hour, self._counts[positions])

    def _pay(self, names: NewContentNames) -> None:
        paid = names.select(_find_distinct(names)[0])
        counts = self._read_counts()
        counts += np.bincount(paid.devices, minlength=len(counts))

    def _read_counts(self) -> NDArray[np.int64]:
        if self._counts is None:
            self._counts = self._before.read(self._devices, self._hour)
        return self._counts


def _find_distinct(names: NewContentNames) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where each (device, content id) is named first, and which one each name is.

    The first result is in the order in which they are named. `names` is in the order of its rows.
    """
    keys = names.devices * (names.contents.max(initial=0) + 1) + names.contents
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return first[order], rank[inverse]


def _has_room(devices: NDArray[np.int64], room: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which of the devices' new content ids, in this order, fit into the devices' room."""
    order = np.argsort(devices, kind="stable")
    in_order = devices[order]
    fits = np.empty(len(devices), bool)
    fits[order] = np.arange(len(order)) - np.searchsorted(in_order, in_order) < room[in_order]
    return fits
