"""The columns of a catalogue, and what is computed from them once."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.encoding import DIMENSION, Codes, quantise, unit_scales
from constellation_settop.recommending.texts import Texts, to_texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BLOCK_ROWS: Final = 1024
"""Rows that are widened at once: 1.5 MiB, which stay in the cache of a processor."""
_KEY_BYTES: Final = 8
_MIN_DEVIATION: Final = 1e-6
"""An embedding nearer to the mean than this counts as equal to it."""


@dataclass(frozen=True, slots=True, eq=False)
class CatalogueColumns:
    """The n content items of a catalogue, column by column; see docs/ranking.md."""

    content_ids: Texts
    titles: Texts
    codes: Codes
    """Shape (n, DIMENSION): the embeddings. Divided by its norm, a row has length 1."""
    unit_scales: NDArray[np.float32]
    """Shape (n,): these factors give the rows of `codes` unit length."""
    deviation_scales: NDArray[np.float32]
    """Shape (n,): 1 / |embedding - mean|; 0 for an embedding that equals the mean."""
    mean_codes: Codes
    """Shape (1, DIMENSION): the mean of all embeddings."""
    mean_scale: NDArray[np.float32]
    """Shape (1,): `mean_codes` times this is the mean."""
    content_types: NDArray[np.uint8]
    """Shape (n,)."""
    genre_names: Texts
    """The distinct genres."""
    genre_offsets: NDArray[np.uint32]
    """Shape (n + 1,): where the genres of each row begin in `genre_indexes`."""
    genre_indexes: NDArray[np.uint16]
    """Positions in `genre_names`."""
    keys: NDArray[np.uint64]
    """Shape (n,), ascending: the first 8 bytes of the SHA-256 of each content id, big-endian."""
    key_rows: NDArray[np.uint32]
    """Shape (n,): the row of each key."""
    item_hashes: NDArray[np.uint64]
    """Shape (n,): the hash that a shard gave each content item, or shape (0,) without a shard."""


def to_key(content_id: str) -> int:
    """Return the key of a content id: the first 8 bytes of its SHA-256, big-endian."""
    return int.from_bytes(sha256(content_id.encode()).digest()[:_KEY_BYTES], "big")


def build_columns(
    content_ids: Sequence[str],
    titles: Sequence[str],
    genres: Sequence[Sequence[str]],
    content_types: NDArray[np.uint8],
    codes: Codes,
    item_hashes: NDArray[np.uint64] | None = None,
) -> CatalogueColumns:
    """Return the columns of a catalogue, with all that is computed from these ones."""
    scales = unit_scales(codes)
    mean_codes, mean_scale, deviation_scales = _measure_deviations(codes, scales)
    keys = np.fromiter(map(to_key, content_ids), np.uint64, len(content_ids))
    key_rows = np.argsort(keys, kind="stable")
    names: dict[str, int] = {}
    indexes = [names.setdefault(genre, len(names)) for each in genres for genre in each]
    genre_offsets = np.zeros(len(content_ids) + 1, np.uint32)
    np.cumsum([len(each) for each in genres], out=genre_offsets[1:])
    return CatalogueColumns(
        content_ids=to_texts(content_ids),
        titles=to_texts(titles),
        codes=codes,
        unit_scales=scales,
        deviation_scales=deviation_scales,
        mean_codes=mean_codes,
        mean_scale=mean_scale,
        content_types=content_types,
        genre_names=to_texts(names),
        genre_offsets=genre_offsets,
        genre_indexes=np.array(indexes, np.uint16),
        keys=keys[key_rows],
        key_rows=key_rows.astype(np.uint32),
        item_hashes=np.empty(0, np.uint64) if item_hashes is None else item_hashes,
    )


def _measure_deviations(
    codes: Codes, scales: NDArray[np.float32]
) -> tuple[Codes, NDArray[np.float32], NDArray[np.float32]]:
    """Return the codes and the scale of the mean, and 1 / |embedding - mean| for each row."""
    total = np.zeros(DIMENSION, np.float64)
    for start in range(0, len(codes), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        total += scales[rows].astype(np.float64) @ codes[rows].astype(np.float64)
    mean = (total / max(1, len(codes))).astype(np.float32)
    mean_codes, mean_scale = quantise(mean[None, :])
    deviations = np.empty(len(codes), np.float64)
    for start in range(0, len(codes), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        shifted = codes[rows] * scales[rows, None] - mean_codes * mean_scale
        wide = shifted.astype(np.float64)  # so that every machine rounds to the same float32
        deviations[rows] = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    inverse = np.zeros(len(codes), np.float64)
    np.divide(1, deviations, out=inverse, where=deviations > _MIN_DEVIATION)
    return mean_codes, mean_scale, inverse.astype(np.float32)


def rank_ids(columns: CatalogueColumns) -> NDArray[np.int64]:
    """Return the position of each row when content ids are sorted by their UTF-8 bytes."""
    data = columns.content_ids.data.tobytes()
    offsets = columns.content_ids.offsets.tolist()
    ids = [data[start:end] for start, end in pairwise(offsets)]
    order = sorted(range(len(ids)), key=ids.__getitem__)
    ranks = np.empty(len(ids), np.int64)
    ranks[order] = np.arange(len(ids))
    return ranks


def sort_columns(columns: CatalogueColumns) -> CatalogueColumns:
    """Return columns with the rows sorted by the UTF-8 bytes of their content ids."""
    ranks = rank_ids(columns)
    order = np.argsort(ranks)
    if (order == np.arange(len(order))).all():
        return columns
    starts = columns.genre_offsets[:-1].astype(np.int64)[order]
    counts = columns.genre_offsets[1:].astype(np.int64)[order] - starts
    genre_offsets = np.append(0, np.cumsum(counts))
    positions = np.arange(genre_offsets[-1]) + np.repeat(starts - genre_offsets[:-1], counts)
    hashes = columns.item_hashes
    return CatalogueColumns(
        content_ids=to_texts(columns.content_ids[int(row)] for row in order),
        titles=to_texts(columns.titles[int(row)] for row in order),
        codes=columns.codes[order],
        unit_scales=columns.unit_scales[order],
        deviation_scales=columns.deviation_scales[order],
        mean_codes=columns.mean_codes,
        mean_scale=columns.mean_scale,
        content_types=columns.content_types[order],
        genre_names=columns.genre_names,
        genre_offsets=genre_offsets.astype(np.uint32),
        genre_indexes=columns.genre_indexes[positions],
        keys=columns.keys,
        key_rows=ranks[columns.key_rows].astype(np.uint32),
        item_hashes=hashes[order] if len(hashes) else hashes,
    )
