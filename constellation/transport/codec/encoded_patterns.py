"""Patterns of a GlobalUpdate, joined from parts that are encoded once for each revision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from constellation.core.rows import TermKind
from constellation.encoding import ROW_BYTES, Encoding, encode_codes
from constellation.transport.codec.wire import (
    SMALL_LIMIT,
    encode_varint,
    encode_varints,
    frame,
    frame_number,
    make_number_tag,
    make_tag,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from constellation.core.index.similar import SimilarPatterns
    from constellation.core.table.vocabulary import Vocabulary
    from constellation.federated.published import PublishedClusters

_IDS: Final = make_tag(1)
_ENCODING: Final = make_number_tag(2)
_EMBEDDINGS: Final = make_tag(3)
_SUCCESS_RATES: Final = make_tag(4)
_SAMPLE_COUNTS: Final = make_tag(5)
_TIMES_OF_DAY: Final = make_tag(6)
_DAY_TYPES: Final = make_tag(7)
_CONTENT_TYPES: Final = make_tag(8)
_CREATED_AT: Final = make_tag(9)
_UPDATED_AT: Final = make_tag(10)
_COLUMNS: Final = (
    _EMBEDDINGS,
    _SUCCESS_RATES,
    _SAMPLE_COUNTS,
    _TIMES_OF_DAY,
    _DAY_TYPES,
    _CONTENT_TYPES,
    _CREATED_AT,
    _UPDATED_AT,
)
"""In the order of the fields of a part."""
_GENRES: Final = make_tag(11)
_GENRE_COUNTS: Final = make_tag(12)
_GENRE_INDEXES: Final = make_tag(13)
_CONTENT_IDS: Final = make_tag(14)
_CONTENT_COUNTS: Final = make_tag(15)
_CONTENT_INDEXES: Final = make_tag(16)
_OVERHEAD_BYTES: Final = 1200
"""Memory of a cached part besides its embedding: a dozen short objects, and its texts."""


class _Part(NamedTuple):
    """One pattern: what it adds to each column of a message."""

    embedding: bytes
    success_rate: bytes
    sample_count: bytes
    time_of_day: bytes
    day_type: bytes
    content_type: bytes
    created_at: bytes
    updated_at: bytes
    genres: Sequence[bytes]
    """Each as a field of the message, with its tag."""
    contents: Sequence[bytes]


class EncodedPatterns:
    """Encodes shared patterns and clusters, and keeps what was used last within a budget of bytes.

    An id names one revision, so a part is right as long as the id is shown. Genres of a shared
    pattern are those of the catalogue, so parts are kept only while the catalogue is the same.

    Parts are in two generations. When the younger one has half of the budget, it becomes the elder
    one, and what nobody used since the last time goes. So a part that is there costs one look-up.
    """

    def __init__(self, vocabulary: Vocabulary, budget_bytes: int) -> None:
        self._vocabulary = vocabulary
        self._young: dict[Encoding, dict[bytes, _Part]] = {each: {} for each in Encoding}
        self._elder = self._young
        self._half_budget_bytes = budget_bytes // 2
        self._young_bytes = 0
        self._catalogue_digest = 0

    def __len__(self) -> int:
        found = {
            (each, part_id)
            for generation in (self._young, self._elder)
            for each, parts in generation.items()
            for part_id in parts
        }
        return len(found)

    def encode_similar(
        self, found: SimilarPatterns, encoding: Encoding, catalogue_digest: int
    ) -> bytes:
        """Return similar patterns as the bytes of a PatternColumns."""
        if catalogue_digest != self._catalogue_digest:
            self._start_generation()
            self._elder, self._catalogue_digest = self._young, catalogue_digest
        ids = found.pseudonyms
        parts = self._find(ids, encoding)
        if lacking := [position for position, part in enumerate(parts) if part is None]:
            for position, made in zip(
                lacking, self._encode_rows(found, lacking, encoding), strict=True
            ):
                parts[position] = self._keep(ids[position], encoding, made)
        return _join(ids, [part for part in parts if part is not None], encoding)

    def encode_clusters(
        self, clusters: PublishedClusters, positions: Sequence[int], encoding: Encoding
    ) -> bytes:
        """Return the clusters at some positions as the bytes of a PatternColumns."""
        ids = [clusters.ids[position] for position in positions]
        parts = self._find(ids, encoding)
        if lacking := [number for number, part in enumerate(parts) if part is None]:
            made = _encode_clusters(clusters, [positions[each] for each in lacking], encoding)
            for number, part in zip(lacking, made, strict=True):
                parts[number] = self._keep(ids[number], encoding, part)
        return _join(ids, [part for part in parts if part is not None], encoding)

    def _find(self, ids: Sequence[bytes], encoding: Encoding) -> list[_Part | None]:
        found: list[_Part | None] = list(map(self._young[encoding].get, ids))
        if None in found:
            elder = self._elder[encoding]
            for position, part_id in enumerate(ids):
                if found[position] is None and (part := elder.get(part_id)) is not None:
                    found[position] = self._keep(part_id, encoding, part)
        return found

    def _keep(self, pattern_id: bytes, encoding: Encoding, part: _Part) -> _Part:
        size = ROW_BYTES[encoding] + _OVERHEAD_BYTES
        if self._young_bytes + size > self._half_budget_bytes:
            self._start_generation()
        young = self._young[encoding]
        if pattern_id not in young and size <= self._half_budget_bytes:
            young[pattern_id] = part
            self._young_bytes += size
        return part

    def _start_generation(self) -> None:
        self._elder, self._young = self._young, {each: {} for each in Encoding}
        self._young_bytes = 0

    def _encode_rows(
        self, found: SimilarPatterns, positions: Sequence[int], encoding: Encoding
    ) -> list[_Part]:
        rows, text = found.rows[np.array(positions, np.int64)], self._vocabulary.text
        numbers = _Numbers(
            rows["success_rate"],
            rows["sample_count"],
            rows["time_of_day"],
            rows["day_type"],
            rows["content_type"],
            rows["created_at"],
            rows["updated_at"],
        )
        genres = [
            [frame(_GENRES, text(TermKind.GENRE, each).encode()) for each in row if each]
            for row in rows["genres"].tolist()
        ]
        contents = [
            [frame(_CONTENT_IDS, text(TermKind.CONTENT, each).encode()) for each in row if each]
            for row in rows["contents"].tolist()
        ]
        return _make_parts(encode_codes(rows["codes"], encoding), numbers, genres, contents)


@dataclass(frozen=True, slots=True, eq=False)
class _Numbers:
    """The columns of numbers, each of shape (n,)."""

    success_rates: NDArray[np.float32]
    sample_counts: NDArray[np.uint32]
    times_of_day: NDArray[np.uint8]
    day_types: NDArray[np.uint8]
    content_types: NDArray[np.uint8]
    created_at: NDArray[np.uint32]
    updated_at: NDArray[np.uint32]


def _encode_clusters(
    clusters: PublishedClusters, positions: Sequence[int], encoding: Encoding
) -> list[_Part]:
    chosen = np.array(positions, np.int64)
    changed_at = clusters.changed_at[chosen]
    numbers = _Numbers(
        clusters.success_rates[chosen],
        clusters.devices[chosen],
        clusters.times_of_day[chosen],
        clusters.day_types[chosen],
        clusters.content_types[chosen],
        changed_at,
        changed_at,
    )
    genres = [[frame(_GENRES, each.encode()) for each in clusters.genres[at]] for at in positions]
    contents = [
        [frame(_CONTENT_IDS, each.encode()) for each in clusters.content_ids[at]]
        for at in positions
    ]
    return _make_parts(encode_codes(clusters.codes[chosen], encoding), numbers, genres, contents)


def _make_parts(
    embeddings: bytes,
    numbers: _Numbers,
    genres: Sequence[Sequence[bytes]],
    contents: Sequence[Sequence[bytes]],
) -> list[_Part]:
    size = len(embeddings) // max(len(genres), 1)
    rates = numbers.success_rates.astype("<f4")
    return [
        _Part(
            embeddings[row * size : (row + 1) * size],
            rates[row].tobytes(),
            encode_varint(int(numbers.sample_counts[row])),
            numbers.times_of_day[row].tobytes(),
            numbers.day_types[row].tobytes(),
            numbers.content_types[row].tobytes(),
            encode_varint(int(numbers.created_at[row])),
            encode_varint(int(numbers.updated_at[row])),
            genres[row],
            contents[row],
        )
        for row in range(len(genres))
    ]


def _join(ids: Sequence[bytes], parts: Sequence[_Part], encoding: Encoding) -> bytes:
    """Return the bytes of a PatternColumns with these patterns."""
    if not parts:
        return frame_number(_ENCODING, encoding)
    join = b"".join
    *columns, genres, contents = zip(*parts, strict=True)
    return join(
        (
            frame(_IDS, join(ids)),
            frame_number(_ENCODING, encoding),
            *map(frame, _COLUMNS, map(join, columns)),
            _join_dictionary(genres, _GENRE_COUNTS, _GENRE_INDEXES),
            _join_dictionary(contents, _CONTENT_COUNTS, _CONTENT_INDEXES),
        )
    )


def _join_dictionary(rows: Sequence[Sequence[bytes]], counts: bytes, indexes: bytes) -> bytes:
    """Return the distinct texts, the number of texts of each row, and the index of each text."""
    positions: dict[bytes, int] = {}
    find = positions.setdefault
    found = [find(text, len(positions)) for row in rows for text in row]
    packed = bytes(found) if len(positions) <= SMALL_LIMIT else encode_varints(found)
    return b"".join((*positions, frame(counts, bytes(map(len, rows))), frame(indexes, packed)))
