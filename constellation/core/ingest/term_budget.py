"""TermBudget: which new terms of a group of deltas enter the vocabulary.

A shard has a number for each genre and content id that anybody ever named. Without a budget, one
device that makes up names would use all of them, and every other device would be rejected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.rows import TermKind
from constellation.core.table.new_terms import GENRES, TERMS
from constellation.core.table.vocabulary import PendingTerms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.core.rows import Slots
    from constellation.core.table.shard_table import Table

MAX_NEW_GENRES_PER_HOUR: Final = 32
"""New genres of one device in one hour, as a part of its new terms: a shard has few numbers."""


@dataclass(frozen=True, slots=True, eq=False)
class NewTermNames:
    """The places where patterns name terms that the vocabulary lacks. All have shape (n,)."""

    rows: NDArray[np.int64]
    """The row of the pattern."""
    devices: NDArray[np.int64]
    """The position of the pattern's device in the budget."""
    terms: NDArray[np.int64]
    """A number for each distinct new term, genres before content ids."""
    genre_count: int
    """Terms below this number are genres."""

    def select(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> NewTermNames:
        return NewTermNames(
            self.rows[chosen], self.devices[chosen], self.terms[chosen], self.genre_count
        )


@dataclass(frozen=True, slots=True, eq=False)
class TermCharge:
    """What a commit makes of the counts of new terms."""

    devices: Slots
    hour: int
    counts: NDArray[np.int64]
    """Shape (n, 2): the columns of NewTermCounts."""

    def apply(self, table: Table) -> None:
        """Remember the counts, once the commit is durable."""
        table.new_terms.write(self.devices, self.hour, self.counts)


class TermBudget:
    """What the devices of one group of deltas may still add to the vocabulary in this hour.

    Every device whose patterns name a new term pays for it, so that what becomes of its patterns
    does not depend on the other devices. The signals of a group come first: a content id that a
    signal has paid for is no longer new, and costs the patterns of the group nothing. Devices are
    named by their position in the group.
    """

    def __init__(self, table: Table, devices: Slots, hour: int, most: int) -> None:
        self.pending = PendingTerms(table.vocabulary)
        """The new terms for which somebody paid."""
        self._before = table.new_terms
        self._devices = devices
        self._hour = hour
        self._most = most
        self._counts: NDArray[np.int64] | None = None
        """The counts with those of this group; None as long as nobody named a new term."""

    def number_content(self, device: int, text: str) -> int:
        """Return the number of a content id; 0 when it is new and the device may not add it."""
        (number,) = self.pending.find_numbers(TermKind.CONTENT, [text])
        if number:
            return number
        counts = self._read_counts()
        if counts[device, TERMS] >= self._most:
            return 0
        counts[device, TERMS] += 1
        (number,) = self.pending.assign_numbers(TermKind.CONTENT, [text])
        return number

    def admit(self, names: NewTermNames) -> NDArray[np.int64]:
        """Pay for the new terms of patterns; return the rows that are beyond a device's budget.

        The terms of a device count in the order of its rows. A row with a term beyond the budget
        costs nothing, and none of its terms is added for it.
        """
        counts = self._read_counts()
        names = names.select(np.argsort(names.rows, kind="stable"))
        first, inverse = _find_distinct(names)
        distinct = names.select(first)
        fits = _has_room(distinct.devices, self._most - counts[:, TERMS])
        is_genre = distinct.terms < names.genre_count
        genre_room = MAX_NEW_GENRES_PER_HOUR - counts[:, GENRES]
        fits[is_genre] &= _has_room(distinct.devices[is_genre], genre_room)

        beyond = np.unique(names.rows[~fits[inverse]])
        self._pay(names.select(~np.isin(names.rows, beyond)))
        return beyond

    def charge(self, positions: list[int], slots: Slots) -> TermCharge | None:
        """Return what to remember for devices, and their row numbers; None without new terms."""
        if self._counts is None:
            return None
        return TermCharge(slots, self._hour, self._counts[positions])

    def _pay(self, names: NewTermNames) -> None:
        paid = names.select(_find_distinct(names)[0])
        counts = self._read_counts()
        counts[:, TERMS] += np.bincount(paid.devices, minlength=len(counts))
        genres = paid.devices[paid.terms < paid.genre_count]
        counts[:, GENRES] += np.bincount(genres, minlength=len(counts))

    def _read_counts(self) -> NDArray[np.int64]:
        if self._counts is None:
            self._counts = self._before.read(self._devices, self._hour)
        return self._counts


def _find_distinct(names: NewTermNames) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where each (device, term) is named first, in that order; and which one each name is.

    The names are in the order of their rows.
    """
    keys = names.devices * (names.terms.max(initial=0) + 1) + names.terms
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return first[order], rank[inverse]


def _has_room(devices: NDArray[np.int64], room: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which of the devices' new terms, in this order, fit into the devices' room."""
    order = np.argsort(devices, kind="stable")
    in_order = devices[order]
    fits = np.empty(len(devices), bool)
    fits[order] = np.arange(len(order)) - np.searchsorted(in_order, in_order) < room[in_order]
    return fits
