"""Patterns and trends: values of the SDK to messages of the wire, and back."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.dictionary_column import decode_texts, encode_texts
from constellation.encoding import ID_BYTES, Encoding, decode, encode
from constellation.v1 import patterns_pb2 as pb
from constellation_settop.values import (
    Cluster,
    ContentType,
    DayType,
    Direction,
    GlobalState,
    Pattern,
    Scope,
    SimilarPattern,
    Subject,
    TimeOfDay,
    Trend,
    Version,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


MAX_CLUSTERS: Final = 256
"""Clusters a device keeps at most; an update that would leave it more is refused."""


class MalformedUpdateError(ValueError):
    """A global update that cannot be applied; nothing of it was."""


def from_patterns(patterns: Sequence[Pattern]) -> pb.PatternColumns:
    """Return the columns of `patterns`, their embeddings in INT8."""
    genres = encode_texts(pattern.genres for pattern in patterns)
    contents = encode_texts(pattern.content_ids for pattern in patterns)
    embeddings = [pattern.embedding for pattern in patterns]
    return pb.PatternColumns(
        ids=b"".join(pattern.pattern_id for pattern in patterns),
        encoding=pb.ENCODING_INT8,
        embeddings=encode(np.stack(embeddings), Encoding.INT8) if patterns else b"",
        success_rates=[pattern.success_rate for pattern in patterns],
        sample_counts=[pattern.sample_count for pattern in patterns],
        times_of_day=bytes(pattern.time_of_day for pattern in patterns),
        day_types=bytes(pattern.day_type for pattern in patterns),
        content_types=bytes(pattern.content_type for pattern in patterns),
        created_at=[pattern.created_at for pattern in patterns],
        updated_at=[pattern.updated_at for pattern in patterns],
        genres=genres.texts,
        genre_counts=genres.counts,
        genre_indexes=genres.indexes,
        content_ids=contents.texts,
        content_counts=contents.counts,
        content_indexes=contents.indexes,
    )


def to_patterns(columns: pb.PatternColumns) -> list[Pattern]:
    """Return the patterns of a message; raise ValueError when it is malformed."""
    ids = split_ids(columns.ids)
    if not ids:
        return []
    embeddings = decode(columns.embeddings, Encoding(columns.encoding))
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    if not (np.isfinite(norms).all() and (norms > 0).all()):
        raise ValueError("an embedding is zero or not finite")
    units = (embeddings / norms).astype(np.float32)
    rows = zip(
        ids,
        units,
        columns.success_rates,
        columns.sample_counts,
        map(TimeOfDay, columns.times_of_day),
        map(DayType, columns.day_types),
        map(ContentType, columns.content_types),
        _decode_terms(columns.genres, columns.genre_counts, columns.genre_indexes, len(ids)),
        _decode_terms(
            columns.content_ids, columns.content_counts, columns.content_indexes, len(ids)
        ),
        columns.created_at,
        columns.updated_at,
        strict=True,
    )
    return [Pattern(row[0], row[1].copy(), *row[2:]) for row in rows]


def _decode_terms(
    terms: Sequence[str], counts: bytes, indexes: Sequence[int], rows: int
) -> list[tuple[str, ...]]:
    return decode_texts(terms, counts, indexes) if counts else [()] * rows


def split_ids(ids: bytes) -> list[bytes]:
    """Return the 16-byte ids of a column; raise ValueError when it is cut short."""
    if len(ids) % ID_BYTES:
        raise ValueError(f"ids must be {ID_BYTES} bytes each, got {len(ids)} in all")
    return [ids[start : start + ID_BYTES] for start in range(0, len(ids), ID_BYTES)]


def to_trend(message: pb.Trend) -> Trend:
    """Return a trend; raise ValueError when it has no subject or no finite score."""
    subject = message.WhichOneof("subject")
    if subject is None or not math.isfinite(message.score):
        raise ValueError("a trend needs a subject and a finite score")
    is_genre = subject == "genre"
    return Trend(
        Subject(message.genre if is_genre else message.content_id, is_genre=is_genre),
        message.score,
        message.region,
        Scope(message.scope),
        Direction(message.direction),
        message.popularity,
    )


def from_trend(trend: Trend) -> pb.Trend:
    field_name = "genre" if trend.subject.is_genre else "content_id"
    message = pb.Trend(
        score=trend.score,
        region=trend.region,
        scope=pb.TrendScope.ValueType(trend.scope),
        direction=pb.TrendDirection.ValueType(trend.direction),
        popularity=trend.popularity,
    )
    setattr(message, field_name, trend.subject.name)
    return message


def from_version(version: Version) -> pb.GlobalVersion:
    return pb.GlobalVersion(generation=version.generation, version=version.version)


def to_version(message: pb.GlobalVersion) -> Version:
    return Version(message.generation, message.version)


def apply_update(held: GlobalState, update: pb.GlobalUpdate) -> GlobalState:
    """Return what is held after the update; raise MalformedUpdateError and change nothing."""
    try:
        similar = _apply_similar(held, update)
        trends = _apply_trends(held, update)
        clusters = _apply_clusters(held, update)
    except ValueError as error:
        raise MalformedUpdateError(str(error)) from error
    _check_count("similar patterns", len(similar), update.similar_count)
    _check_count("trends", len(trends), update.trend_count)
    _check_count("clusters", len(clusters), update.cluster_count)
    return GlobalState(to_version(update.version), similar, trends, clusters)


def _apply_similar(held: GlobalState, update: pb.GlobalUpdate) -> dict[bytes, SimilarPattern]:
    similar = dict(held.similar)
    for pseudonym in split_ids(update.removed_similar_ids):
        similar.pop(pseudonym, None)
    for pattern, cosine in zip(
        _to_foreign_patterns(update.similar), update.similarities, strict=True
    ):
        if not math.isfinite(cosine):
            raise ValueError("a similarity is not finite")
        similar[pattern.pattern_id] = SimilarPattern(pattern, cosine)
    return similar


def _apply_trends(held: GlobalState, update: pb.GlobalUpdate) -> dict[Subject, Trend]:
    trends = {} if update.reset else dict(held.trends)
    for content_id in update.removed_trend_content_ids:
        trends.pop(Subject(content_id), None)
    for genre in update.removed_trend_genres:
        trends.pop(Subject(genre, is_genre=True), None)
    for trend in map(to_trend, update.trends):
        trends[trend.subject] = trend
    return trends


def _apply_clusters(held: GlobalState, update: pb.GlobalUpdate) -> dict[bytes, Cluster]:
    removed = split_ids(update.removed_cluster_ids)
    new = [
        Cluster(pattern, pattern.sample_count) for pattern in _to_foreign_patterns(update.clusters)
    ]
    if not new and not update.cluster_count:  # a shard that knows no clusters names none to forget
        return {}
    clusters = dict(held.clusters)
    for cluster_id in removed:
        clusters.pop(cluster_id, None)
    clusters |= {cluster.pattern.pattern_id: cluster for cluster in new}
    if len(clusters) > MAX_CLUSTERS:
        raise ValueError(f"at most {MAX_CLUSTERS} clusters can be kept, got {len(clusters)}")
    return clusters


def _to_foreign_patterns(columns: pb.PatternColumns) -> list[Pattern]:
    if not all(0 <= rate < math.inf for rate in columns.success_rates):
        raise ValueError("a success rate is negative or not finite")
    return to_patterns(columns)


def _check_count(what: str, count: int, expected: int) -> None:
    if count != expected:
        raise MalformedUpdateError(f"{count} {what} after the update, the shard counts {expected}")
