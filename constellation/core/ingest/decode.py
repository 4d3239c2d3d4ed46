"""Decodes the patterns of deltas into rows, and validates them, for a whole commit at once."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.distinct import find_distinct
from constellation.core.ingest.content_budget import ContentBudget, NewContentNames
from constellation.core.ingest.deltas import PatternColumns, RejectionReason
from constellation.core.rows import (
    LAST_CONTENT_TYPE,
    LAST_DAY_TYPE,
    LAST_TIME_OF_DAY,
    MAX_SAMPLE_COUNT,
    PATTERN,
    PatternRows,
    TermKind,
)
from constellation.encoding import ID_BYTES, INT8_ROW, Codes, Encoding, decode, quantise
from constellation.federated.terms import MAX_CONTENTS, MAX_GENRES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray


MIN_NORM: Final = 1e-6
"""Embeddings with a smaller norm are rejected."""
MAX_NORM: Final = 1e3
"""Embeddings with a greater norm are rejected."""


@dataclass(frozen=True, slots=True, eq=False)
class Upserts:
    """The patterns of several batches as rows, batch by batch."""

    rows: PatternRows
    """Shape (n,): complete except for `lsn` and `device`."""
    sources: NDArray[np.int64]
    """Shape (n,): the position of each row's batch."""
    reasons: NDArray[np.uint8]
    """Shape (n,): the RejectionReason of a row that must not be stored; 0 for the others."""


def decode_patterns(
    batches: Sequence[PatternColumns],
    devices: Sequence[int],
    budget: ContentBudget,
    quality_threshold: float,
) -> Upserts:
    """Return the rows of several batches of patterns, and why some must not be stored.

    `devices` has the position of each batch's device in the budget, which numbers the terms of
    good rows. Patterns with a success_rate below `quality_threshold` are rejected.
    """
    counts = np.array([len(batch.ids) // ID_BYTES for batch in batches], np.int64)
    total = int(counts.sum())
    rows = np.zeros(total, PATTERN)
    upserts = Upserts(rows, np.repeat(np.arange(len(batches)), counts), np.zeros(total, np.uint8))
    if not total:
        return upserts
    rows["pattern_id"] = np.frombuffer(b"".join(b.ids for b in batches), f"V{ID_BYTES}")
    _fill_embeddings(upserts, batches)
    _fill_statistics(upserts, batches, quality_threshold)
    _fill_context(upserts, batches)
    _fill_terms(upserts, batches, devices, budget)
    return upserts


def _reject(upserts: Upserts, bad: NDArray[np.bool_], reason: RejectionReason) -> None:
    """Set the reason of bad rows that have none yet: the first reason found counts."""
    upserts.reasons[bad & (upserts.reasons == 0)] = reason


def _fill_embeddings(upserts: Upserts, batches: Sequence[PatternColumns]) -> None:
    norms = np.empty(len(upserts.rows))
    encodings = np.array([batch.encoding for batch in batches])[upserts.sources]
    for encoding in {batch.encoding for batch in batches}:
        data = b"".join(batch.embeddings for batch in batches if batch.encoding is encoding)
        rows = encodings == encoding
        upserts.rows["codes"][rows], norms[rows] = (
            _from_int8(data) if encoding is Encoding.INT8 else _from_floats(data, encoding)
        )
    _reject(upserts, ~np.isfinite(norms), RejectionReason.NOT_FINITE)
    _reject(upserts, (norms < MIN_NORM) | (norms > MAX_NORM), RejectionReason.BAD_NORM)


def _from_int8(data: bytes) -> tuple[Codes, NDArray[np.float64]]:
    """Return the codes as sent and the embeddings' norms.

    The norm is 0 for a scale that is not positive, and NaN for one that is not finite.
    """
    rows = np.frombuffer(data, INT8_ROW)
    codes = rows["codes"]
    wide = codes.astype(np.int32)
    lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    scales = rows["scale"].astype(np.float64)
    scales[scales < 0] = 0
    return codes, np.where(np.isfinite(scales), scales, np.nan) * lengths


def _from_floats(data: bytes, encoding: Encoding) -> tuple[Codes, NDArray[np.float64]]:
    """Return INT8 codes and the embeddings' norms; NaN for a row that is not finite."""
    values = decode(data, encoding)
    finite = np.logical_and.reduce(np.isfinite(values), axis=1)
    values = np.where(finite[:, None], values, np.float32(0))
    norms = np.sqrt(np.einsum("ij,ij->i", values, values, dtype=np.float64))
    usable = (norms >= MIN_NORM) & (norms <= MAX_NORM)
    codes, _ = quantise(np.where(usable[:, None], values, np.float32(0)))
    return codes, np.where(finite, norms, np.nan)


def _fill_statistics(
    upserts: Upserts, batches: Sequence[PatternColumns], quality_threshold: float
) -> None:
    rows, total = upserts.rows, len(upserts.rows)
    rates = np.fromiter(chain.from_iterable(b.success_rates for b in batches), np.float32, total)
    counts = np.fromiter(chain.from_iterable(b.sample_counts for b in batches), np.int64, total)
    rows["success_rate"] = rates
    rows["sample_count"] = counts
    rows["created_at"] = np.fromiter(
        chain.from_iterable(b.created_at for b in batches), np.uint32, total
    )
    rows["updated_at"] = np.fromiter(
        chain.from_iterable(b.updated_at for b in batches), np.uint32, total
    )
    _reject(upserts, ~((rates >= 0) & (rates <= 1)), RejectionReason.BAD_SUCCESS_RATE)
    _reject(upserts, (counts < 1) | (counts > MAX_SAMPLE_COUNT), RejectionReason.BAD_SAMPLE_COUNT)
    _reject(upserts, rates < np.float32(quality_threshold), RejectionReason.BELOW_QUALITY)


def _fill_context(upserts: Upserts, batches: Sequence[PatternColumns]) -> None:
    rows = upserts.rows
    rows["time_of_day"] = np.frombuffer(b"".join(b.times_of_day for b in batches), np.uint8)
    rows["day_type"] = np.frombuffer(b"".join(b.day_types for b in batches), np.uint8)
    rows["content_type"] = np.frombuffer(b"".join(b.content_types for b in batches), np.uint8)
    unknown = (
        (rows["time_of_day"] > LAST_TIME_OF_DAY)
        | (rows["day_type"] > LAST_DAY_TYPE)
        | (rows["content_type"] > LAST_CONTENT_TYPE)
    )
    _reject(upserts, unknown, RejectionReason.BAD_CONTEXT)


@dataclass(slots=True, eq=False)
class _RaggedColumn:
    """The terms of one kind in several batches. Each entry names a term for one row."""

    name: str
    """The column of the rows that gets the numbers."""
    kind: TermKind
    texts: list[str]
    """The dictionaries of all batches, one after the other."""
    rows: NDArray[np.int64]
    """The row of each entry."""
    places: NDArray[np.int64]
    """Which of its row's terms each entry is."""
    positions: NDArray[np.int64]
    """The position of each entry's term in `texts`; -1 when it is outside its dictionary."""
    numbers: NDArray[np.int64]
    """The number of each of `texts`, 0 for terms without one. A 0 at the end is for position -1."""

    def drop_unnumbered(self) -> None:
        """Drop the entries whose term has no number, and close the gaps in their rows."""
        kept = self.numbers[self.positions] > 0
        self.rows, self.positions = self.rows[kept], self.positions[kept]
        self.places = _find_places(self.rows)

    def list_new(self, is_good: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the entries of good rows whose term has no number."""
        chosen = np.flatnonzero(is_good[self.rows])
        is_new: NDArray[np.bool_] = self.numbers[self.positions[chosen]] == 0
        entries: NDArray[np.int64] = chosen[is_new]
        return entries

    def set_numbers(
        self, entries: NDArray[np.int64], number: Callable[[TermKind, list[str]], list[int]]
    ) -> None:
        """Let a function number the distinct terms of some entries."""
        used = find_distinct(self.positions[entries])
        self.numbers[used] = number(self.kind, [self.texts[each] for each in used.tolist()])


def _fill_terms(
    upserts: Upserts,
    batches: Sequence[PatternColumns],
    devices: Sequence[int],
    budget: ContentBudget,
) -> None:
    if not any(batch.genre_counts or batch.content_counts for batch in batches):
        return  # no row names a term
    genres = _read_ragged(
        upserts,
        ("genres", TermKind.GENRE, MAX_GENRES),
        [b.genres for b in batches],
        b"".join(b.genre_counts or bytes(len(b.ids) // ID_BYTES) for b in batches),
        [b.genre_indexes for b in batches],
    )
    contents = _read_ragged(
        upserts,
        ("contents", TermKind.CONTENT, MAX_CONTENTS),
        [b.content_ids for b in batches],
        b"".join(b.content_counts or bytes(len(b.ids) // ID_BYTES) for b in batches),
        [b.content_indexes for b in batches],
    )
    for column in (genres, contents):
        named = np.flatnonzero((upserts.reasons == 0)[column.rows])
        column.set_numbers(named, budget.pending.find_numbers)
    genres.drop_unnumbered()
    _admit_new_contents(upserts, contents, devices, budget)
    for column in (genres, contents):
        _write_numbers(upserts, column)


def _read_ragged(
    upserts: Upserts,
    target: tuple[str, TermKind, int],
    dictionaries: list[Sequence[str]],
    row_counts: bytes,
    batch_indexes: list[Sequence[int]],
) -> _RaggedColumn:
    """Return the terms of one kind; `target` is their column, kind, and most for each row.

    `row_counts` has the number of terms of each row, `batch_indexes` for each batch indexes into
    its dictionary, row by row. Rows whose terms are wrong are rejected.
    """
    name, kind, width = target
    counts = np.frombuffer(row_counts, np.uint8).astype(np.int64)
    indexes = np.fromiter(chain.from_iterable(batch_indexes), np.int64)
    sizes = np.array([len(dictionary) for dictionary in dictionaries], np.int64)
    entries = np.array([len(batch) for batch in batch_indexes], np.int64)
    outside = indexes >= np.repeat(sizes, entries)
    positions = np.where(outside, -1, indexes + np.repeat(np.cumsum(sizes) - sizes, entries))
    rows = np.repeat(np.arange(len(counts)), counts)
    bad = counts > width
    bad[rows[outside]] = True
    _reject(upserts, bad, RejectionReason.BAD_CONTEXT)

    texts = list(chain.from_iterable(dictionaries))
    numbers = np.zeros(len(texts) + 1, np.int64)
    return _RaggedColumn(name, kind, texts, rows, _find_places(rows), positions, numbers)


def _find_places(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return which of its row's entries each entry is; `rows` must be ascending."""
    return np.arange(len(rows)) - np.searchsorted(rows, rows)


def _admit_new_contents(
    upserts: Upserts, contents: _RaggedColumn, devices: Sequence[int], budget: ContentBudget
) -> None:
    """Number the new content ids of rows within their devices' budgets; reject the other rows."""
    is_good = upserts.reasons == 0
    new = contents.list_new(is_good)
    if not len(new):
        return
    rows = contents.rows[new]
    names = NewContentNames(
        rows=rows,
        devices=np.array(devices, np.int64)[upserts.sources[rows]],
        contents=_number_distinct(contents, new),
    )
    beyond = np.zeros(len(is_good), bool)
    beyond[budget.admit(names)] = True
    _reject(upserts, beyond, RejectionReason.TOO_MANY_NEW_CONTENTS)
    contents.set_numbers(contents.list_new(upserts.reasons == 0), budget.pending.assign_numbers)


def _number_distinct(column: _RaggedColumn, entries: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a number from 0 for the text of each entry."""
    used, inverse = np.unique(column.positions[entries], return_inverse=True)
    by_text: dict[str, int] = {}
    found = [by_text.setdefault(column.texts[each], len(by_text)) for each in used.tolist()]
    return np.array(found, np.int64)[inverse]


def _write_numbers(upserts: Upserts, column: _RaggedColumn) -> None:
    """Write the numbers of terms into the good rows; reject rows whose term got none."""
    is_good = upserts.reasons == 0
    full = np.zeros(len(is_good), bool)
    full[column.rows[column.list_new(is_good)]] = True
    _reject(upserts, full, RejectionReason.SHARD_FULL)
    named = is_good[column.rows]
    rows, places = column.rows[named], column.places[named]
    upserts.rows[column.name][rows, places] = column.numbers[column.positions[named]]
