"""Passing: a shard's aggregate on to a federation above, and into the journal and back."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Final

import numpy as np
from google.protobuf.proto import parse_length_prefixed, serialize_length_prefixed

from constellation.federated.aggregate import AggregateUpdate, SubjectCounts, no_clusters
from constellation.transport.codec.aggregates import from_update
from constellation.v1 import aggregates_pb2 as pb
from federation.merge.cluster_sums import ShardAggregate, join, renumbered
from federation.merge.cluster_sums import since as changed_since
from federation.shards.assembly import Assembly

if TYPE_CHECKING:
    from collections.abc import Iterator

    from constellation.federated.aggregate import ClusterRows
    from federation.merge.hourly_counts import Cells
    from federation.merge.terms import Names

_HEARD: Final = struct.Struct("<dI")
_FOREVER: Final = 2**32 - 3
"""No hour is later: what was checked once is not checked again."""


def chunks_of(
    held: ShardAggregate,
    base: int,
    names: tuple[Names, Names],
    age_seconds: int = 0,
    candidates: ClusterRows | None = None,
) -> Iterator[pb.PullAggregateResponse]:
    """Yield what a federation above lacks of one shard, that holds version `base` of its epoch.

    `names` are those of contents and of genres.
    """
    clusters, cells, base = changed_since(held, base)
    update = AggregateUpdate(
        held.of,
        held.facts,
        base,
        clusters,
        _from_cells(cells, *names),
        no_clusters() if candidates is None else candidates,
    )
    return from_update(update, age_seconds)


def from_aggregate(held: ShardAggregate, contents: Names, genres: Names) -> bytes:
    """Return a shard's aggregate for the journal."""
    into = io.BytesIO()
    address = held.address.encode()
    into.write(_HEARD.pack(held.heard_at, len(address)) + address)
    for chunk in chunks_of(held, 0, (contents, genres)):
        serialize_length_prefixed(chunk, into)
    return into.getvalue()


def to_aggregate(stored: bytes, contents: Names, genres: Names) -> ShardAggregate:
    """Return what `from_aggregate` stored."""
    source = io.BytesIO(stored)
    heard_at, length = _HEARD.unpack(source.read(_HEARD.size))
    address = source.read(length).decode()
    assembly = Assembly(_FOREVER)
    while (chunk := parse_length_prefixed(pb.PullAggregateResponse, source)) is not None:
        assembly.add(chunk)
    ((sent, _),) = assembly.updates()
    ours = renumbered(sent, assembly.names, (contents, genres))
    return join(None, ours, (heard_at, address))


def _from_cells(cells: Cells, contents: Names, genres: Names) -> SubjectCounts:
    distinct, which = np.unique(cells.subjects, return_inverse=True)
    is_content = distinct >= 0
    content_ids = contents.of(distinct[is_content])
    names = genres.of(-1 - distinct[~is_content])
    place = np.empty(len(distinct), np.int64)
    place[is_content] = np.arange(len(content_ids))
    place[~is_content] = np.arange(len(names)) + len(content_ids)
    subjects = place[which].astype(np.uint32) if len(which) else np.empty(0, np.uint32)
    return SubjectCounts(
        content_ids,
        names,
        subjects,
        cells.hours.astype(np.uint32),
        cells.devices.astype(np.uint32),
    )
