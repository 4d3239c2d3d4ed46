"""Converts global state: from a federation's chunks to what a shard serves, and on to devices."""

from __future__ import annotations

import math
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import numpy as np
from google.protobuf.message import DecodeError

from constellation.auth.revocations import MAX_REVOKED
from constellation.dictionary_column import decode_texts, encode_texts
from constellation.encoding import DIMENSION, ID_BYTES, INT8_ROW, encode_codes
from constellation.errors import InvalidInputError
from constellation.federated.aggregate import (
    CONTENTS_PER_CLUSTER,
    GENRES_PER_CLUSTER,
    Anchors,
)
from constellation.federated.published import (
    PublishedClusters,
    PublishedGlobal,
    RoundKey,
    StoredGlobal,
)
from constellation.federated.terms import check_new_term
from constellation.federated.trends import Direction, Trend
from constellation.transport.codec.related import to_dictionary, to_popular, to_related
from constellation.v1 import aggregates_pb2
from constellation.v1 import patterns_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from constellation.encoding import Encoding

MAX_GLOBAL_BYTES: Final = 16 << 20
"""The largest serialised Global that a shard stores."""
MAX_CLUSTERS: Final = 4096
"""Clusters, and anchors of the codebook."""
MAX_TRENDS: Final = 5000
"""Global trends and those of all regions. A device gets few of them."""
_UNIT_TOLERANCE: Final = 1e-3
"""How far the length of an anchor may be from 1."""


def to_global(payload: bytes) -> PublishedGlobal:
    """Return a serialised Global as a shard serves it. Raises InvalidInputError for a bad one."""
    try:
        message = aggregates_pb2.Global.FromString(payload)
    except DecodeError as error:
        raise InvalidInputError("chunk", f"must be a Global: {error}") from None
    _check_counts(message)
    return PublishedGlobal(
        RoundKey(message.generation, message.round_id),
        to_anchors(message.generation, message.codebook),
        _to_clusters(message.clusters),
        [_to_trend(trend) for trend in message.trends],
        message.closed_at,
        _to_revoked(message.revoked_device_ids),
        to_dictionary(message.generation, message.related),
        to_related(message.related.rows),
        to_popular(message.popular),
        message.noised,
    )


def _to_revoked(ids: bytes) -> frozenset[bytes]:
    if len(ids) % ID_BYTES:
        raise InvalidInputError(
            "revoked_device_ids", f"must be {ID_BYTES} bytes each, got {len(ids)} bytes"
        )
    return frozenset(ids[at : at + ID_BYTES] for at in range(0, len(ids), ID_BYTES))


def _check_counts(message: aggregates_pb2.Global) -> None:
    """Raise InvalidInputError for more entries than any federation publishes."""
    counts = {
        "codebook.cluster_ids": (len(message.codebook.cluster_ids), MAX_CLUSTERS),
        "clusters.patterns.ids": (len(message.clusters.patterns.ids) // ID_BYTES, MAX_CLUSTERS),
        "trends": (len(message.trends), MAX_TRENDS),
        "revoked_device_ids": (len(message.revoked_device_ids) // ID_BYTES, MAX_REVOKED),
    }
    for field, (count, most) in counts.items():
        if count > most:
            raise InvalidInputError(field, f"must have at most {most} entries, got {count}")


def to_anchors(generation: int, codebook: aggregates_pb2.Codebook) -> Anchors:
    """Return a codebook's anchors.

    Raises InvalidInputError unless the ids ascend and each anchor has unit length.
    """
    ids = np.array(codebook.cluster_ids, np.uint32)
    if len(codebook.anchors) != len(ids) * DIMENSION * 4:
        raise InvalidInputError(
            "codebook.anchors",
            f"must be {len(ids)} rows of {DIMENSION * 4} bytes, got {len(codebook.anchors)} bytes",
        )
    if len(ids) > 1 and not (np.diff(ids.astype(np.int64)) > 0).all():
        raise InvalidInputError("codebook.cluster_ids", "must be ascending and distinct")
    embeddings = np.frombuffer(codebook.anchors, "<f4").reshape(len(ids), DIMENSION)
    with np.errstate(invalid="ignore"):  # a signalling NaN is refused like any other number
        norms = np.linalg.norm(embeddings.astype(np.float64), axis=1)
    if not (np.abs(norms - 1) <= _UNIT_TOLERANCE).all():
        raise InvalidInputError("codebook.anchors", "must be of unit length")
    return Anchors(generation, codebook.version, ids, embeddings.astype(np.float32))


def from_clusters(
    clusters: PublishedClusters, positions: Sequence[int], encoding: Encoding
) -> pb.PatternColumns:
    """Return the clusters at some positions as patterns."""
    chosen = np.array(positions, np.int64)
    stamps = clusters.changed_at[chosen].tolist()
    columns = pb.PatternColumns(
        ids=b"".join(clusters.ids[position] for position in positions),
        encoding=pb.Encoding.ValueType(encoding),
        embeddings=encode_codes(clusters.codes[chosen], encoding),
        success_rates=clusters.success_rates[chosen].tolist(),
        sample_counts=clusters.devices[chosen].tolist(),
        times_of_day=clusters.times_of_day[chosen].tobytes(),
        day_types=clusters.day_types[chosen].tobytes(),
        content_types=clusters.content_types[chosen].tobytes(),
        created_at=stamps,
        updated_at=stamps,
    )
    genres = encode_texts(clusters.genres[position] for position in positions)
    columns.genres.extend(genres.texts)
    columns.genre_counts = genres.counts
    columns.genre_indexes.extend(genres.indexes)
    contents = encode_texts(clusters.content_ids[position] for position in positions)
    columns.content_ids.extend(contents.texts)
    columns.content_counts = contents.counts
    columns.content_indexes.extend(contents.indexes)
    return columns


def from_trends(trends: Iterable[Trend], region: str) -> list[pb.Trend]:
    """Return the messages of trends; a trend without a region gets this one."""
    return [
        pb.Trend(
            content_id=trend.content_id or None,  # type: ignore[arg-type]  # None leaves it unset
            genre=trend.genre or None,  # type: ignore[arg-type]  # None leaves it unset
            score=trend.score,
            region=trend.region or region,
            scope=pb.TREND_SCOPE_GLOBAL if trend.is_global else pb.TREND_SCOPE_REGIONAL,
            direction=pb.TrendDirection.ValueType(trend.direction),
            popularity=trend.popularity,
        )
        for trend in trends
    ]


def _to_clusters(sent: aggregates_pb2.GlobalClusters) -> PublishedClusters:
    columns = sent.patterns
    count, rest = divmod(len(columns.ids), ID_BYTES)
    if rest or columns.encoding != pb.ENCODING_INT8:
        raise InvalidInputError("clusters.patterns", "must have 16-byte ids and INT8 embeddings")
    if len(columns.embeddings) != count * INT8_ROW.itemsize:
        raise InvalidInputError(
            "clusters.patterns.embeddings",
            f"must be {count} rows of {INT8_ROW.itemsize} bytes, "
            f"got {len(columns.embeddings)} bytes",
        )
    lengths = {
        "success_rates": len(columns.success_rates),
        "sample_counts": len(columns.sample_counts),
        "times_of_day": len(columns.times_of_day),
        "day_types": len(columns.day_types),
        "content_types": len(columns.content_types),
        "updated_at": len(columns.updated_at),
        "genre_counts": len(columns.genre_counts),
        "content_counts": len(columns.content_counts),
    }
    for name, length in lengths.items():
        if length != count:
            raise InvalidInputError(
                f"clusters.patterns.{name}", f"must have {count} entries, got {length}"
            )
    ids = [columns.ids[at : at + ID_BYTES] for at in range(0, len(columns.ids), ID_BYTES)]
    if len(set(ids)) != count:
        raise InvalidInputError("clusters.patterns.ids", "must be distinct")
    codes = np.frombuffer(columns.embeddings, INT8_ROW)["codes"].copy()
    if not codes.any(axis=1).all():
        raise InvalidInputError("clusters.patterns.embeddings", "must not be all zeros")
    rates = np.array(columns.success_rates, np.float32)
    if not ((rates >= 0) & (rates <= 1)).all():
        raise InvalidInputError("clusters.patterns.success_rates", "must be from 0 to 1")
    _check_context(columns)
    return PublishedClusters(
        ids,
        codes,
        rates,
        np.array(columns.sample_counts, np.uint32),
        np.frombuffer(columns.times_of_day, np.uint8),
        np.frombuffer(columns.day_types, np.uint8),
        np.frombuffer(columns.content_types, np.uint8),
        np.array(columns.updated_at, np.uint32),
        _decode_column(columns.genres, columns.genre_counts, columns.genre_indexes, "genres"),
        _decode_column(
            columns.content_ids, columns.content_counts, columns.content_indexes, "contents"
        ),
    )


def _check_context(columns: pb.PatternColumns) -> None:
    """Raise InvalidInputError for a context that no pattern has, or too many terms."""
    limits = {
        "times_of_day": max(pb.TimeOfDay.values()),
        "day_types": max(pb.DayType.values()),
        "content_types": max(pb.ContentType.values()),
        "genre_counts": GENRES_PER_CLUSTER,
        "content_counts": CONTENTS_PER_CLUSTER,
    }
    for name, most in limits.items():
        found = max(getattr(columns, name), default=0)
        if found > most:
            raise InvalidInputError(
                f"clusters.patterns.{name}", f"must be at most {most} each, got {found}"
            )


def _decode_column(
    texts: Sequence[str], counts: bytes, indexes: Sequence[int], field: str
) -> list[tuple[str, ...]]:
    try:
        for text in texts:
            check_new_term(text)
        return decode_texts(texts, counts, indexes)
    except ValueError as error:
        raise InvalidInputError(f"clusters.patterns.{field}", str(error)) from None


def _to_trend(sent: pb.Trend) -> Trend:
    if sent.direction not in {int(direction) for direction in Direction}:
        raise InvalidInputError("trends.direction", f"must be 1, 2 or 3, got {sent.direction}")
    for name, value in (("score", sent.score), ("popularity", sent.popularity)):
        if not math.isfinite(value):
            raise InvalidInputError(f"trends.{name}", f"must be a finite number, got {value}")
    texts = {"content_id": sent.content_id, "genre": sent.genre, "region": sent.region}
    for name, text in texts.items():
        try:
            check_new_term(text or "-")  # each may be empty
        except ValueError as error:
            raise InvalidInputError(f"trends.{name}", str(error)) from None
    return Trend(
        sent.content_id,
        sent.genre,
        sent.score,
        Direction(sent.direction),
        sent.popularity,
        region=sent.region,
        is_global=sent.scope == pb.TREND_SCOPE_GLOBAL,
    )


async def read_header(
    frames: AsyncIterator[aggregates_pb2.PublishGlobalRequest],
) -> aggregates_pb2.GlobalHeader:
    """Return the header with which a stream of frames begins.

    Raises InvalidInputError when there is none, and for one that is wrong.
    """
    async for frame in frames:
        if (kind := frame.WhichOneof("frame")) != "header":
            raise InvalidInputError("frame", f"must be the header first, then chunks, got {kind}")
        return _check_header(frame.header)
    raise InvalidInputError("frame", "must be the header first, got no frame")


async def read_payload(
    frames: AsyncIterator[aggregates_pb2.PublishGlobalRequest], header: aggregates_pb2.GlobalHeader
) -> StoredGlobal:
    """Return the global state that the chunks after a header contain.

    Raises InvalidInputError unless the chunks match the header's size and SHA-256.
    """
    payload = bytearray()
    async for frame in frames:
        if (kind := frame.WhichOneof("frame")) != "chunk":
            raise InvalidInputError("frame", f"must be the header first, then chunks, got {kind}")
        payload += frame.chunk
        if len(payload) > header.size_bytes:
            raise InvalidInputError(
                "chunk", f"must be {header.size_bytes} bytes in all, got {len(payload)} or more"
            )
    if len(payload) != header.size_bytes or sha256(payload).digest() != header.sha256:
        raise InvalidInputError(
            "chunk",
            f"must add up to {header.size_bytes} bytes with the SHA-256 of the header, "
            f"got {len(payload)} bytes",
        )
    return StoredGlobal(header.generation, header.round_id, bytes(payload))


def to_published(stored: StoredGlobal) -> PublishedGlobal:
    """Return a stored global state as a shard serves it.

    Raises InvalidInputError when it is invalid, or of another round than its header names.
    """
    published = to_global(stored.payload)
    if published.round != RoundKey(stored.generation, stored.round_id):
        raise InvalidInputError(
            "header",
            f"names round {stored.round_id} of generation {stored.generation}, but the chunks "
            f"contain round {published.round.round_id} of generation "
            f"{published.round.generation}",
        )
    return published


def _check_header(header: aggregates_pb2.GlobalHeader) -> aggregates_pb2.GlobalHeader:
    if header.size_bytes > MAX_GLOBAL_BYTES:
        raise InvalidInputError(
            "header.size_bytes", f"must be at most {MAX_GLOBAL_BYTES}, got {header.size_bytes}"
        )
    for field in ("generation", "round_id"):
        if not 0 < getattr(header, field) < 2**63:
            raise InvalidInputError(
                f"header.{field}", f"must be from 1 to 2**63 - 1, got {getattr(header, field)}"
            )
    return header
