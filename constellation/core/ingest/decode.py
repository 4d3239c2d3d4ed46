"""Decodes the patterns of deltas into rows, and validates them, for a whole commit at once."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final

import numpy as np

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
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from constellation.core.table.vocabulary import PendingTerms

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
    batches: Sequence[PatternColumns], terms: PendingTerms, quality_threshold: float
) -> Upserts:
    """Return the rows of several batches of patterns, and why some must not be stored.

    Terms of good rows are numbered in `terms`. Patterns with a success_rate below
    `quality_threshold` are rejected.
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
    _fill_terms(upserts, batches, terms)
    return upserts


def _reject(upserts: Upserts, bad: NDArray[np.bool_], reason: RejectionReason) -> None:
    """Set the reason of bad rows that have none yet: the first reason found counts."""
    upserts.reasons[bad & (upserts.reasons == 0)] = reason


def _fill_embeddings(upserts: Upserts, batches: Sequence[PatternColumns]) -> None:
    for encoding in {batch.encoding for batch in batches}:
        chosen = [index for index, batch in enumerate(batches) if batch.encoding is encoding]
        mask = np.isin(upserts.sources, chosen)
        data = b"".join(b.embeddings for b in batches if b.encoding is encoding)
        codes, norms = (
            _from_int8(data) if encoding is Encoding.INT8 else _from_floats(data, encoding)
        )
        upserts.rows["codes"][mask] = codes
        bad = np.zeros(len(mask), bool)
        bad[mask] = ~np.isfinite(norms)
        _reject(upserts, bad, RejectionReason.NOT_FINITE)
        bad[mask] = ~((norms >= MIN_NORM) & (norms <= MAX_NORM))
        _reject(upserts, bad, RejectionReason.BAD_NORM)


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


@dataclass(frozen=True, slots=True)
class _RaggedColumn:
    """The terms of one kind in several batches."""

    kind: TermKind
    width: int
    """Terms of this kind that a pattern may have."""
    dictionaries: list[Sequence[str]]
    """The dictionary of each batch."""
    counts: bytes
    """The number of terms of each row."""
    indexes: list[Sequence[int]]
    """For each batch, indexes into its dictionary, row by row."""


def _fill_terms(upserts: Upserts, batches: Sequence[PatternColumns], terms: PendingTerms) -> None:
    genres = _RaggedColumn(
        TermKind.GENRE,
        MAX_GENRES,
        [b.genres for b in batches],
        b"".join(b.genre_counts or bytes(len(b.ids) // ID_BYTES) for b in batches),
        [b.genre_indexes for b in batches],
    )
    contents = _RaggedColumn(
        TermKind.CONTENT,
        MAX_CONTENTS,
        [b.content_ids for b in batches],
        b"".join(b.content_counts or bytes(len(b.ids) // ID_BYTES) for b in batches),
        [b.content_indexes for b in batches],
    )
    _fill_ragged(upserts, "genres", genres, terms)
    _fill_ragged(upserts, "contents", contents, terms)


def _fill_ragged(upserts: Upserts, column: str, ragged: _RaggedColumn, terms: PendingTerms) -> None:
    counts = np.frombuffer(ragged.counts, np.uint8).astype(np.int64)
    indexes = np.fromiter(chain.from_iterable(ragged.indexes), np.int64)
    if not len(indexes):
        return
    sizes = np.array([len(dictionary) for dictionary in ragged.dictionaries], np.int64)
    entries = np.array([len(batch) for batch in ragged.indexes], np.int64)
    outside = indexes >= np.repeat(sizes, entries)
    dictionary_positions = np.where(
        outside, 0, indexes + np.repeat(np.cumsum(sizes) - sizes, entries)
    )
    row = np.repeat(np.arange(len(counts)), counts)
    bad = counts > ragged.width
    bad[row[outside]] = True
    _reject(upserts, bad, RejectionReason.BAD_CONTEXT)

    named = (upserts.reasons[row] == 0) & ~outside
    numbers = _number_terms(ragged, np.unique(dictionary_positions[named]), int(sizes.sum()), terms)
    row_positions = np.arange(len(indexes)) - np.repeat(np.cumsum(counts) - counts, counts)
    upserts.rows[column][row[named], row_positions[named]] = numbers[dictionary_positions[named]]
    full = np.zeros(len(counts), bool)
    full[row[named & (numbers[dictionary_positions] == 0)]] = True
    _reject(upserts, full, RejectionReason.SHARD_FULL)


def _number_terms(
    ragged: _RaggedColumn, used: NDArray[np.int64], size: int, terms: PendingTerms
) -> NDArray[np.int64]:
    """Return the number of each term in the dictionaries; 0 for terms that no good row names."""
    texts = list(chain.from_iterable(ragged.dictionaries))
    numbers = np.zeros(max(size, 1), np.int64)
    numbers[used] = terms.assign_numbers(
        ragged.kind, [texts[position] for position in used.tolist()]
    )
    return numbers
