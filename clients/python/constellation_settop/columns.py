"""Conversion of patterns, trends and global updates between the SDK's values and the API."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.dictionary_column import decode_texts, encode_texts
from constellation.encoding import Encoding, decode, encode
from constellation.v1 import patterns_pb2 as pb
from constellation_settop.related_columns import apply_popular, apply_related, split_ids
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
"""The most clusters that a device keeps. An update that would leave it with more is refused."""


MAX_SIMILAR: Final = 1000
"""The most similar patterns that a device keeps, because it can declare no more in Hello."""
MAX_TRENDS: Final = 1000
"""The most trends that a device keeps."""
MAX_TERMS: Final = 64
"""Genres, and content items, of one shared pattern."""
MAX_TERM_LENGTH: Final = 256
"""Characters of a genre or a content id."""


class MalformedUpdateError(ValueError):
    """A global update that cannot be applied. No part of it was."""


def from_patterns(patterns: Sequence[Pattern]) -> pb.PatternColumns:
    """Return the column message of some patterns, with INT8 embeddings."""
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
    """Return the patterns of a column message, with embeddings of unit length.

    Raises ValueError when the message is malformed.
    """
    ids = split_ids(columns.ids)
    if not ids:
        return []
    embeddings = decode(columns.embeddings, Encoding(columns.encoding))
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    if not (np.isfinite(norms).all() and (norms > 0).all()):
        raise ValueError("every embedding must be finite and not zero")
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


def to_trend(message: pb.Trend) -> Trend:
    """Return the trend of a message; raise ValueError for no subject or no finite score."""
    subject = message.WhichOneof("subject")
    if subject is None or not math.isfinite(message.score + message.popularity):
        raise ValueError("a trend needs a subject, and a finite score and popularity")
    if max(len(message.genre), len(message.content_id), len(message.region)) > MAX_TERM_LENGTH:
        raise ValueError(f"a trend has texts of at most {MAX_TERM_LENGTH} characters")
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
    """Return the message of a trend."""
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
    """Return the message of a version."""
    return pb.GlobalVersion(generation=version.generation, version=version.version)


def to_version(message: pb.GlobalVersion) -> Version:
    """Return the version of a message."""
    return Version(message.generation, message.version)


def apply_update(current: GlobalState, update: pb.GlobalUpdate) -> GlobalState:
    """Return the global state after an update; `current` stays as it is.

    Raises MalformedUpdateError when the update is malformed, when it leaves more than a device
    keeps, or when the counts after it differ from the shard's.
    """
    try:
        similar = _apply_similar(current, update)
        trends = _apply_trends(current, update)
        clusters = _apply_clusters(current, update)
        related = apply_related(current.related, update)
        popular = apply_popular(current.popular, update)
    except ValueError as error:
        raise MalformedUpdateError(str(error)) from error
    _check_count("similar patterns", len(similar), update.similar_count)
    _check_count("trends", len(trends), update.trend_count)
    _check_count("clusters", len(clusters), update.cluster_count)
    _check_count("rows of related content", len(related), update.related_count)
    return GlobalState(to_version(update.version), similar, trends, clusters, related, popular)


def _apply_similar(current: GlobalState, update: pb.GlobalUpdate) -> dict[bytes, SimilarPattern]:
    similar = dict(current.similar)
    for pseudonym in split_ids(update.removed_similar_ids):
        similar.pop(pseudonym, None)
    for pattern, cosine in zip(
        _to_shared_patterns(update.similar), update.similarities, strict=True
    ):
        if not math.isfinite(cosine):
            raise ValueError("every similarity must be finite")
        similar[pattern.pattern_id] = SimilarPattern(pattern, cosine)
    if len(similar) > MAX_SIMILAR:
        raise ValueError(f"a device keeps at most {MAX_SIMILAR} similar patterns")
    return similar


def _apply_trends(current: GlobalState, update: pb.GlobalUpdate) -> dict[Subject, Trend]:
    trends = {} if update.reset else dict(current.trends)
    for content_id in update.removed_trend_content_ids:
        trends.pop(Subject(content_id), None)
    for genre in update.removed_trend_genres:
        trends.pop(Subject(genre, is_genre=True), None)
    for trend in map(to_trend, update.trends):
        trends[trend.subject] = trend
    if len(trends) > MAX_TRENDS:
        raise ValueError(f"a device keeps at most {MAX_TRENDS} trends, got {len(trends)}")
    return trends


def _apply_clusters(current: GlobalState, update: pb.GlobalUpdate) -> dict[bytes, Cluster]:
    removed = split_ids(update.removed_cluster_ids)
    new = [
        Cluster(pattern, pattern.sample_count) for pattern in _to_shared_patterns(update.clusters)
    ]
    if not new and not update.cluster_count:  # a shard without clusters lists none to remove
        return {}
    clusters = dict(current.clusters)
    for cluster_id in removed:
        clusters.pop(cluster_id, None)
    clusters |= {cluster.pattern.pattern_id: cluster for cluster in new}
    if len(clusters) > MAX_CLUSTERS:
        raise ValueError(f"a device keeps at most {MAX_CLUSTERS} clusters, got {len(clusters)}")
    return clusters


def _to_shared_patterns(columns: pb.PatternColumns) -> list[Pattern]:
    if not all(0 <= rate < math.inf for rate in columns.success_rates):
        raise ValueError("every success rate must be finite and not negative")
    for texts, counts in (
        (columns.genres, columns.genre_counts),
        (columns.content_ids, columns.content_counts),
    ):
        if max(counts, default=0) > MAX_TERMS or any(len(each) > MAX_TERM_LENGTH for each in texts):
            raise ValueError(
                f"a pattern has at most {MAX_TERMS} genres and content items, "
                f"of at most {MAX_TERM_LENGTH} characters"
            )
    with np.errstate(all="ignore"):  # what is not finite is refused
        return to_patterns(columns)


def _check_count(noun: str, count: int, expected: int) -> None:
    if count != expected:
        raise MalformedUpdateError(
            f"{count} {noun} are left after the update, but the shard counts {expected}"
        )
