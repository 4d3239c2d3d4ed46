"""Passing: a shard's aggregate on to a federation above, and into the journal and back."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Final

import numpy as np
from google.protobuf.proto import parse_length_prefixed, serialize_length_prefixed

from constellation.federated.aggregate import AggregateUpdate, SubjectCounts, no_clusters
from constellation.transport.codec.aggregates import from_aggregate_update
from constellation.v1 import aggregates_pb2 as pb
from federation.merge.cluster_sums import ShardAggregate, join_update, renumber_terms
from federation.merge.cluster_sums import select_changes as changed_since
from federation.shards.assembly import Assembly

if TYPE_CHECKING:
    from collections.abc import Iterator

    from constellation.federated.aggregate import ClusterRows
    from federation.merge.hourly_counts import HourlyCells
    from federation.merge.terms import TermDictionary

_HEADER: Final = struct.Struct("<dI")
_MAX_HOUR: Final = 2**32 - 3
"""No hour is later: what was checked once is not checked again."""


def to_chunks(
    held: ShardAggregate,
    base: int,
    terms: tuple[TermDictionary, TermDictionary],
    age_seconds: int = 0,
    candidates: ClusterRows | None = None,
) -> Iterator[pb.PullAggregateResponse]:
    """Yield what a federation above lacks of one shard, that holds version `base` of its epoch.

    `names` are those of contents and of genres.
    """
    clusters, cells, base = changed_since(held, base)
    update = AggregateUpdate(
        held.version,
        held.facts,
        base,
        clusters,
        _from_cells(cells, *terms),
        no_clusters() if candidates is None else candidates,
    )
    return from_aggregate_update(update, age_seconds)


def from_aggregate(held: ShardAggregate, contents: TermDictionary, genres: TermDictionary) -> bytes:
    """Return a shard's aggregate for the journal."""
    buffer = io.BytesIO()
    address = held.address.encode()
    buffer.write(_HEADER.pack(held.heard_at, len(address)) + address)
    for chunk in to_chunks(held, 0, (contents, genres)):
        serialize_length_prefixed(chunk, buffer)
    return buffer.getvalue()


def to_aggregate(stored: bytes, contents: TermDictionary, genres: TermDictionary) -> ShardAggregate:
    """Return what `from_aggregate` stored."""
    source = io.BytesIO(stored)
    heard_at, length = _HEADER.unpack(source.read(_HEADER.size))
    address = source.read(length).decode()
    assembly = Assembly(_MAX_HOUR)
    while (chunk := parse_length_prefixed(pb.PullAggregateResponse, source)) is not None:
        assembly.add(chunk)
    ((update, _),) = assembly.build_updates()
    ours = renumber_terms(update, assembly.terms, (contents, genres))
    return join_update(None, ours, (heard_at, address))


def _from_cells(
    cells: HourlyCells, contents: TermDictionary, genres: TermDictionary
) -> SubjectCounts:
    distinct, which = np.unique(cells.subjects, return_inverse=True)
    is_content = distinct >= 0
    content_ids = contents.to_texts(distinct[is_content])
    genre_texts = genres.to_texts(-1 - distinct[~is_content])
    positions = np.empty(len(distinct), np.int64)
    positions[is_content] = np.arange(len(content_ids))
    positions[~is_content] = np.arange(len(genre_texts)) + len(content_ids)
    subjects = positions[which].astype(np.uint32) if len(which) else np.empty(0, np.uint32)
    return SubjectCounts(
        content_ids,
        genre_texts,
        subjects,
        cells.hours.astype(np.uint32),
        cells.devices.astype(np.uint32),
    )
