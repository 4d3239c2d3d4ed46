"""Passes a shard's aggregate on: to a federation above, and to the journal and back."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Final

import numpy as np
from google.protobuf.proto import parse_length_prefixed, serialize_length_prefixed

from constellation.federated.aggregate import (
    AggregateUpdate,
    SubjectCounts,
    no_clusters,
    no_subjects,
)
from constellation.federated.likes import LikeAggregate, LikeCounts
from constellation.transport.codec.aggregates import from_aggregate_update
from constellation.v1 import aggregates_pb2 as pb
from federation.merge.aggregates import (
    ShardAggregate,
    Source,
    join_update,
    renumber_terms,
    select_changes,
)
from federation.merge.terms import decode_genres
from federation.shards.assembly import Assembly

if TYPE_CHECKING:
    from collections.abc import Iterator

    from constellation.federated.aggregate import ClusterRows
    from federation.merge.hourly_counts import HourlyCells
    from federation.merge.terms import Terms
    from federation.related.shard_likes import ShardLikes

_HEADER: Final = struct.Struct("<dI")
"""The start of a stored aggregate: when it was received, and the length of its address."""
_MAX_HOUR: Final = 2**32 - 3
"""An hour that no other hour exceeds: stored hours were checked when they were received."""


def to_chunks(
    known: ShardAggregate,
    base: int,
    terms: Terms,
    age_seconds: int = 0,
    candidates: ClusterRows | None = None,
    *,
    include_likes: bool = False,
) -> Iterator[pb.PullAggregateResponse]:
    """Yield what a federation above lacks of one shard if it has version `base` of the same epoch.

    With a `base` of 0, that is everything. `terms` number the terms of the aggregate and of the
    candidates. `age_seconds` says how long ago the shard answered. Likes and pairs are left out
    unless `include_likes` is set.
    """
    clusters, cells, base = select_changes(known, base)
    update = AggregateUpdate(
        known.version,
        known.header,
        base,
        clusters,
        _to_subject_counts(cells, terms),
        no_clusters() if candidates is None else candidates,
        _to_like_aggregate(known.likes, base, terms) if include_likes and known.likes else None,
    )
    return from_aggregate_update(update, age_seconds)


def from_aggregate(known: ShardAggregate, terms: Terms, base: int = 0) -> bytes:
    """Return a shard's aggregate as bytes for the journal: only what changed after `base`, if any.

    The changes after `base` must be known.
    """
    buffer = io.BytesIO()
    address = known.address.encode()
    buffer.write(_HEADER.pack(known.received_at, len(address)) + address)
    for chunk in to_chunks(known, base, terms):
        serialize_length_prefixed(chunk, buffer)
    return buffer.getvalue()


def from_likes(known: ShardAggregate, terms: Terms) -> bytes:
    """Return a shard's likes and pairs as bytes for the journal."""
    assert known.likes is not None
    update = AggregateUpdate(
        known.likes.version,
        known.header,
        0,
        no_clusters(),
        no_subjects(),
        likes=_to_like_aggregate(known.likes, 0, terms),
    )
    buffer = io.BytesIO()
    for chunk in from_aggregate_update(update):
        serialize_length_prefixed(chunk, buffer)
    return zlib.compress(buffer.getbuffer(), level=1)


def to_likes(stored: bytes, terms: Terms) -> ShardLikes:
    """Return the likes and pairs that `from_likes` stored, with their terms numbered by `terms`."""
    buffer = io.BytesIO(zlib.decompress(stored))
    assembly = Assembly(_MAX_HOUR, include_likes=True)
    while (chunk := parse_length_prefixed(pb.PullAggregateResponse, buffer)) is not None:
        assembly.add(chunk)
    ((update, _),) = assembly.build_updates()
    likes = renumber_terms(update, assembly.terms, terms).likes
    assert likes is not None
    return likes


def to_aggregate(
    stored: bytes, terms: Terms, known: ShardAggregate | None = None
) -> ShardAggregate:
    """Return the aggregate that `from_aggregate` stored, with its terms numbered by `terms`.

    If only changes were stored, `known` is the aggregate that they build on.
    """
    buffer = io.BytesIO(stored)
    received_at, length = _HEADER.unpack(buffer.read(_HEADER.size))
    address = buffer.read(length).decode()
    assembly = Assembly(_MAX_HOUR)
    while (chunk := parse_length_prefixed(pb.PullAggregateResponse, buffer)) is not None:
        assembly.add(chunk)
    ((update, _),) = assembly.build_updates()
    ours = renumber_terms(update, assembly.terms, terms)
    return join_update(known, ours, Source(received_at, address))


def _to_like_aggregate(likes: ShardLikes, base: int, terms: Terms) -> LikeAggregate:
    """Return the likes, and the pairs that arrived after `base`, with texts in place of numbers."""
    return LikeAggregate(
        likes.contributors,
        LikeCounts(
            terms.contents.to_texts(likes.contents),
            likes.devices.astype(np.uint32),
            likes.unsupported,
        ),
        likes.select_changes(base),
        likes.dictionary,
        likes.dictionary_effective_version,
        likes.liked_limit,
    )


def _to_subject_counts(cells: HourlyCells, terms: Terms) -> SubjectCounts:
    """Return the cells with texts in place of numbers."""
    distinct, which = np.unique(cells.subjects, return_inverse=True)
    is_content = distinct >= 0
    content_ids = terms.contents.to_texts(distinct[is_content])
    genres = terms.genres.to_texts(decode_genres(distinct[~is_content]))
    positions = np.empty(len(distinct), np.int64)
    positions[is_content] = np.arange(len(content_ids))
    positions[~is_content] = np.arange(len(genres)) + len(content_ids)
    subjects = positions[which].astype(np.uint32) if len(which) else np.empty(0, np.uint32)
    return SubjectCounts(
        content_ids,
        genres,
        subjects,
        cells.hours.astype(np.uint32),
        cells.devices.astype(np.uint32),
    )
