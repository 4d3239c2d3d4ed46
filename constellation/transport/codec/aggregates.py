"""Aggregates as chunks of at most 1 MiB, and back, for shards and for federations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.encoding import DIMENSION
from constellation.errors import InvalidInputError
from constellation.federated.aggregate import (
    CONTENTS_PER_CLUSTER,
    GENRES_PER_CLUSTER,
    AggregateHeader,
    AggregateVersion,
    ClusterRows,
    ClusterTerms,
    SubjectCounts,
)
from constellation.federated.fixed_point import CONTEXTS, ClusterSums
from constellation.federated.terms import check_term
from constellation.transport.codec.likes import encode_likes, encode_pairs, fill_header
from constellation.v1 import aggregates_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from constellation.federated.aggregate import AggregateUpdate
    from constellation.federated.fixed_point import Integers

MAX_CANDIDATES: Final = 4096
"""The most candidates that one pull may ask for."""
MAX_DEVICES: Final = 2**26
"""The most devices of one shard. The sums of 100 shards of that size still fit into an int64."""
_VALUE_LIMIT: Final = 2**62
"""Values must be below this, so that sums stay far from the end of an int64."""
_COUNT_BYTES: Final = 12
"""The bytes of one hourly count: subject, hour and devices."""
_TEXT_OVERHEAD: Final = 2
"""The bytes that protobuf adds to a text of the dictionary."""


@dataclass(frozen=True, slots=True)
class ChunkSizes:
    """How much one chunk may contain; the defaults keep every chunk below 1 MiB."""

    clusters: int = 128
    """Rows of clusters. A row has 3.2 KB of sums and up to 2.6 KB of terms."""
    hour_bytes: int = 900_000
    """Bytes of hourly counts with their dictionary."""


DEFAULT_CHUNK_SIZES: Final = ChunkSizes()


def from_aggregate_version(version: AggregateVersion) -> pb.AggregateVersion:
    return pb.AggregateVersion(
        shard_id=version.shard_id, epoch=version.epoch, version=version.version
    )


def to_aggregate_version(sent: pb.AggregateVersion) -> AggregateVersion:
    """Return the version of an aggregate. Raises InvalidInputError for an impossible one."""
    if not 0 < sent.epoch < _VALUE_LIMIT or sent.version >= _VALUE_LIMIT:
        raise InvalidInputError(
            "version",
            "must have an epoch from 1 to 2**62 - 1 and a version below 2**62, "
            f"got epoch {sent.epoch}, version {sent.version}",
        )
    return AggregateVersion(sent.shard_id, sent.epoch, sent.version)


def from_aggregate_update(
    update: AggregateUpdate, age_seconds: int = 0, sizes: ChunkSizes = DEFAULT_CHUNK_SIZES
) -> Iterator[pb.PullAggregateResponse]:
    """Yield the chunks of one shard's answer to a pull: its header, then its rows."""
    version = from_aggregate_version(update.version)
    yield pb.PullAggregateResponse(version=version, header=_encode_header(update, age_seconds))
    for columns in _encode_clusters(update.clusters, sizes.clusters):
        yield pb.PullAggregateResponse(version=version, clusters=columns)
    for hours in _encode_hours(update.hours, sizes.hour_bytes):
        yield pb.PullAggregateResponse(version=version, hours=hours)
    for columns in _encode_clusters(update.candidates, sizes.clusters):
        yield pb.PullAggregateResponse(version=version, candidates=columns)
    if update.likes is not None:
        for likes in encode_likes(update.likes.likes):
            yield pb.PullAggregateResponse(version=version, likes=likes)
        for pairs in encode_pairs(update.likes.pairs):
            yield pb.PullAggregateResponse(version=version, pairs=pairs)


def _encode_header(update: AggregateUpdate, age_seconds: int) -> pb.AggregateHeader:
    header = update.header
    encoded = pb.AggregateHeader(
        region=header.region,
        codebook_generation=header.codebook_generation,
        codebook_version=header.codebook_version,
        codebook_effective_version=header.codebook_effective_version,
        devices=header.devices,
        base_version=update.base_version,
        cluster_count=len(update.clusters),
        hour_count=len(update.hours.hours),
        candidate_count=len(update.candidates),
        age_seconds=age_seconds,
        hourly_limit=header.hourly_limit,
        complete=header.is_complete,
        k_anonymity=header.k_anonymity,
    )
    if update.likes is not None:
        fill_header(encoded, update.likes)
    return encoded


def to_aggregate_header(header: pb.AggregateHeader) -> AggregateHeader:
    """Return the header of a shard's answer. Raises InvalidInputError for impossible values."""
    check_text(header.region, "header.region")
    if header.devices > MAX_DEVICES:
        raise InvalidInputError(
            "header.devices", f"must be at most {MAX_DEVICES}, got {header.devices}"
        )
    if max(header.base_version, header.codebook_effective_version) >= _VALUE_LIMIT:
        raise InvalidInputError(
            "header",
            "must have versions below 2**62, got base_version "
            f"{header.base_version} and codebook_effective_version "
            f"{header.codebook_effective_version}",
        )
    return AggregateHeader(
        header.region,
        header.codebook_generation,
        header.codebook_version,
        header.codebook_effective_version,
        header.devices,
        header.hourly_limit,
        header.complete,
        header.k_anonymity,
    )


def to_clusters(columns: pb.ClusterColumns, field: str) -> ClusterRows:
    """Return the rows of clusters. Checks every column but the dictionaries' texts.

    Raises InvalidInputError, naming the column.
    """
    count = len(columns.cluster_ids)
    ids = np.array(columns.cluster_ids, np.uint32)
    if len(np.unique(ids)) != count:
        raise InvalidInputError(f"{field}.cluster_ids", "must be distinct")
    features = ClusterSums(
        _to_counts(columns.devices, count, f"{field}.devices"),
        _to_counts(columns.weights, count, f"{field}.weights"),
        _to_counts(columns.successes, count, f"{field}.successes"),
        _to_matrix(columns.sums, (count, DIMENSION), f"{field}.sums"),
        _to_matrix(columns.contexts, (count, CONTEXTS), f"{field}.contexts"),
    )
    genres = (columns.genres, columns.genre_counts, columns.genre_indexes, columns.genre_devices)
    contents = (
        columns.content_ids,
        columns.content_counts,
        columns.content_indexes,
        columns.content_devices,
    )
    return ClusterRows(
        ids,
        _to_counts(columns.versions, count, f"{field}.versions"),
        features,
        _to_term_counts(genres, count, GENRES_PER_CLUSTER, f"{field}.genres"),
        _to_term_counts(contents, count, CONTENTS_PER_CLUSTER, f"{field}.content_ids"),
    )


def to_subject_counts(columns: pb.HourlyColumns) -> SubjectCounts:
    """Return hourly counts. Checks every column but the dictionaries' texts.

    Raises InvalidInputError, naming the column.
    """
    subjects = _to_uint32s(columns.subjects, "hours.subjects")
    hours = _to_uint32s(columns.hours, "hours.hours")
    devices = _to_uint32s(columns.devices, "hours.devices")
    if not len(subjects) == len(hours) == len(devices):
        raise InvalidInputError(
            "hours", f"has {len(subjects)} subjects, {len(hours)} hours, {len(devices)} devices"
        )
    names = len(columns.content_ids) + len(columns.genres)
    if len(subjects) and subjects.max() >= names:
        raise InvalidInputError("hours.subjects", f"must be below {names}, got {subjects.max()}")
    return SubjectCounts(columns.content_ids, columns.genres, subjects, hours, devices)


def check_text(text: str, field: str) -> str:
    """Return a genre, content id or region; raise InvalidInputError when it is no valid term."""
    try:
        return check_term(text)
    except ValueError as error:
        raise InvalidInputError(field, str(error)) from None


def _encode_clusters(rows: ClusterRows, chunk_rows: int) -> Iterator[pb.ClusterColumns]:
    features = rows.features
    for start in range(0, len(rows), chunk_rows):
        end = min(start + chunk_rows, len(rows))
        chunk = features.select(slice(start, end))
        columns = pb.ClusterColumns(
            cluster_ids=rows.cluster_ids[start:end].tolist(),
            versions=rows.versions[start:end].tolist(),
            devices=chunk.devices.tolist(),
            weights=chunk.weights.tolist(),
            successes=chunk.successes.tolist(),
            sums=chunk.sums.astype("<i8", copy=False).tobytes(),
            contexts=chunk.contexts.astype("<i8", copy=False).tobytes(),
        )
        texts, counts, indexes, devices = _encode_term_counts(rows.genres, start, end)
        columns.genres.extend(texts)
        columns.genre_counts.extend(counts)
        columns.genre_indexes.extend(indexes)
        columns.genre_devices.extend(devices)
        texts, counts, indexes, devices = _encode_term_counts(rows.contents, start, end)
        columns.content_ids.extend(texts)
        columns.content_counts.extend(counts)
        columns.content_indexes.extend(indexes)
        columns.content_devices.extend(devices)
        yield columns


def _encode_term_counts(
    terms: ClusterTerms, start: int, end: int
) -> tuple[list[str], list[int], list[int], list[int]]:
    """Return the texts, counts, indexes and devices of the rows from `start` to `end`."""
    first, last = np.searchsorted(terms.rows, [start, end])
    distinct, indexes = np.unique(terms.terms[first:last], return_inverse=True)
    counts = np.bincount(terms.rows[first:last] - start, minlength=end - start)
    texts = [terms.texts[term] for term in distinct.tolist()]
    return texts, counts.tolist(), indexes.tolist(), terms.devices[first:last].tolist()


def _to_term_counts(
    sent: tuple[Sequence[str], Sequence[int], Sequence[int], Sequence[int]],
    rows: int,
    limit: int,
    field: str,
) -> ClusterTerms:
    texts, counts, indexes, devices = sent
    row_counts = np.array(counts or [0] * rows, np.int64)
    terms, numbers = np.array(indexes, np.int64), np.array(devices, np.int64)
    if len(row_counts) != rows or row_counts.max(initial=0) > limit:
        raise InvalidInputError(field, f"must have counts up to {limit} for each of {rows} rows")
    if not row_counts.sum() == len(terms) == len(numbers):
        raise InvalidInputError(
            field,
            f"must have {row_counts.sum()} indexes and devices, got {len(terms)}, {len(numbers)}",
        )
    if terms.max(initial=-1) >= len(texts):
        raise InvalidInputError(field, f"has index {terms.max()}, but only {len(texts)} texts")
    return ClusterTerms(np.repeat(np.arange(rows), row_counts), terms, numbers, texts)


def _encode_hours(counts: SubjectCounts, chunk_bytes: int) -> Iterator[pb.HourlyColumns]:
    """Yield chunks of the counts, sorted by subject so that each chunk names few subjects."""
    if not len(counts.hours):
        return
    texts = [*counts.content_ids, *counts.genres]
    lengths = np.array([len(text.encode()) + _TEXT_OVERHEAD for text in texts], np.int64)
    order = np.lexsort((counts.hours, counts.subjects))
    subjects = counts.subjects[order].astype(np.int64)
    is_first = np.diff(subjects, prepend=-1) > 0
    sizes = np.cumsum(_COUNT_BYTES + is_first * lengths[subjects])
    cuts = np.flatnonzero(np.diff(sizes // chunk_bytes)) + 1
    for chunk in np.split(order, cuts):
        yield _encode_hour_chunk(counts, chunk)


def _encode_hour_chunk(counts: SubjectCounts, chunk: Integers) -> pb.HourlyColumns:
    distinct, indexes = np.unique(counts.subjects[chunk], return_inverse=True)
    contents = len(counts.content_ids)
    numbers = distinct.tolist()
    return pb.HourlyColumns(
        content_ids=[counts.content_ids[number] for number in numbers if number < contents],
        genres=[counts.genres[number - contents] for number in numbers if number >= contents],
        subjects=indexes.astype("<u4").tobytes(),
        hours=counts.hours[chunk].astype("<u4").tobytes(),
        devices=counts.devices[chunk].astype("<u4").tobytes(),
    )


def _to_counts(values: Sequence[int], count: int, field: str) -> Integers:
    if len(values) != count:
        raise InvalidInputError(field, f"must have {count} entries, got {len(values)}")
    if values and max(values) >= _VALUE_LIMIT:
        raise InvalidInputError(field, f"must be below 2**62, got {max(values)}")
    return np.array(values, np.int64)


def _to_matrix(data: bytes, shape: tuple[int, int], field: str) -> Integers:
    """Return int64 rows; raise InvalidInputError for a wrong length or values that may overflow."""
    if len(data) != shape[0] * shape[1] * 8:
        raise InvalidInputError(
            field, f"must be {shape[1]} x 8 bytes for each of {shape[0]} rows, got {len(data)}"
        )
    values = np.frombuffer(data, "<i8").reshape(shape)
    if len(values) and (values.max() >= _VALUE_LIMIT or values.min() <= -_VALUE_LIMIT):
        raise InvalidInputError(
            field, "must be from -2**62 to 2**62, exclusive: larger sums may overflow"
        )
    return values.astype(np.int64)


def _to_uint32s(data: bytes, field: str) -> NDArray[np.uint32]:
    if len(data) % 4:
        raise InvalidInputError(field, f"must be 4 bytes each, got {len(data)} in all")
    return np.frombuffer(data, "<u4").astype(np.uint32)


def to_candidate_limits(request: pb.PullAggregateRequest) -> tuple[int, float]:
    """Return the most candidates to send, and the cosine from which on an anchor is near.

    Raises InvalidInputError when either is out of range.
    """
    if request.max_candidates > MAX_CANDIDATES:
        raise InvalidInputError(
            "max_candidates", f"must be at most {MAX_CANDIDATES}, got {request.max_candidates}"
        )
    if not 0 <= request.residual_cosine <= 1:
        raise InvalidInputError(
            "residual_cosine", f"must be from 0 to 1, got {request.residual_cosine:g}"
        )
    return request.max_candidates, request.residual_cosine
