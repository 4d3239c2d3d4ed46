"""A global state arrives in chunks, is checked, and leaves for devices as patterns and trends."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from constellation.encoding import Encoding, encode
from constellation.errors import InvalidInputError
from constellation.federated.published import RoundKey, StoredGlobal
from constellation.federated.trends import Direction, Trend
from constellation.transport.codec.global_state import (
    MAX_GLOBAL_BYTES,
    from_clusters,
    from_trends,
    read_header,
    read_payload,
    to_anchors,
    to_global,
    to_published,
)
from constellation.v1 import aggregates_pb2 as pb
from constellation.v1 import patterns_pb2 as patterns
from tests.deltas import PatternSpec, embedding
from tests.sync_client import to_columns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

CLUSTERS = [PatternSpec(1, 1, genres=("Drama",)), PatternSpec(2, 2, contents=("film:1",))]


def make_global(**parts: Any) -> pb.Global:
    return pb.Global(
        generation=5,
        round_id=2,
        closed_at=9,
        **{"clusters": pb.GlobalClusters(patterns=to_columns(CLUSTERS)), **parts},
    )


def make_header(payload: bytes, **header: Any) -> pb.GlobalHeader:
    named = {"generation": 5, "round_id": 2, "size_bytes": len(payload)}
    return pb.GlobalHeader(**{**named, "sha256": sha256(payload).digest(), **header})


def to_frames(payload: bytes, header: pb.GlobalHeader) -> list[pb.PublishGlobalRequest]:
    half = len(payload) // 2
    chunks = [pb.PublishGlobalRequest(chunk=part) for part in (payload[:half], payload[half:])]
    return [pb.PublishGlobalRequest(header=header), *chunks]


async def stream(frames: Iterable[pb.PublishGlobalRequest]) -> AsyncIterator[Any]:
    for frame in frames:
        yield frame


async def read_stored(frames: AsyncIterator[Any]) -> StoredGlobal:
    return await read_payload(frames, await read_header(frames))


async def test_chunks_become_the_global_state_that_was_cut() -> None:
    payload = make_global().SerializeToString()

    stored = await read_stored(stream(to_frames(payload, make_header(payload))))

    assert (stored.generation, stored.round_id, stored.payload) == (5, 2, payload)
    assert to_published(stored).round == RoundKey(5, 2)


FRAME_PROBLEMS: dict[str, Callable[[list[pb.PublishGlobalRequest]], list[Any]]] = {
    "got no frame": lambda _: [],
    "frame must be the header first, then chunks, got chunk": lambda frames: frames[1:],
    "frame must be the header first, then chunks, got header": lambda frames: frames[:1] * 2,
    "chunk must add up to": lambda frames: frames[:-1],
    "bytes in all": lambda frames: [*frames, frames[-1]],
}


@pytest.mark.parametrize("problem", FRAME_PROBLEMS)
async def test_frames_that_do_not_match_the_header_are_refused(problem: str) -> None:
    payload = make_global().SerializeToString()
    frames = FRAME_PROBLEMS[problem](to_frames(payload, make_header(payload)))

    with pytest.raises(InvalidInputError, match=problem):
        await read_stored(stream(frames))


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ({"size_bytes": MAX_GLOBAL_BYTES + 1}, "header.size_bytes must be at most"),
        ({"generation": 0}, "header.generation must be from 1"),
        ({"round_id": 2**63}, "header.round_id must be from 1"),
        ({"sha256": bytes(32)}, "SHA-256"),
    ],
)
async def test_an_impossible_header_is_refused(header: dict[str, Any], problem: str) -> None:
    payload = make_global().SerializeToString()

    with pytest.raises(InvalidInputError, match=problem):
        await read_stored(stream(to_frames(payload, make_header(payload, **header))))


async def test_a_header_of_another_round_is_refused() -> None:
    payload = make_global().SerializeToString()
    frames = to_frames(payload, make_header(payload, round_id=3))
    stored = await read_stored(stream(frames))

    with pytest.raises(InvalidInputError, match="names round 3 of generation 5, but the chunks"):
        to_published(stored)


def test_bytes_that_are_no_global_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="chunk must be a Global"):
        to_global(b"\xff")


SPOILS: dict[str, Callable[[pb.Global], object]] = {
    "clusters.patterns": lambda sent: setattr(sent.clusters.patterns, "encoding", 1),
    "clusters.patterns.embeddings": lambda sent: setattr(sent.clusters.patterns, "embeddings", b""),
    "clusters.patterns.updated_at": lambda sent: sent.clusters.patterns.updated_at.append(1),
    "clusters.patterns.genres": lambda sent: sent.clusters.patterns.genre_indexes.append(9),
    "trends.direction": lambda sent: sent.trends.add(content_id="film:1"),
}


@pytest.mark.parametrize("field", SPOILS)
def test_a_bad_part_is_refused_by_name(field: str) -> None:
    message = make_global()
    SPOILS[field](message)

    with pytest.raises(InvalidInputError) as raised:
        to_global(message.SerializeToString())

    assert raised.value.field == field


@pytest.mark.parametrize("encoding", list(Encoding))
def test_chosen_clusters_leave_in_the_encoding_of_the_device(encoding: Encoding) -> None:
    published = to_global(make_global().SerializeToString())

    columns = from_clusters(published.clusters, [1], encoding)

    assert columns.ids == PatternSpec(2).pattern_id
    assert columns.encoding == int(encoding)
    assert list(columns.content_ids) == ["film:1"]
    assert list(columns.genres) == []


def make_codebook(ids: list[int], anchors: np.ndarray[Any, np.dtype[np.float32]]) -> pb.Codebook:
    return pb.Codebook(version=1, cluster_ids=ids, anchors=encode(anchors, Encoding.FLOAT32))


def test_anchors_keep_their_ids_and_embeddings() -> None:
    vectors = np.stack([embedding(1), embedding(2)])

    anchors = to_anchors(5, make_codebook([3, 8], vectors))

    assert anchors.cluster_ids.tolist() == [3, 8]
    assert anchors.embeddings.tolist() == vectors.tolist()


@pytest.mark.parametrize(
    ("ids", "scale", "problem"),
    [
        ([8, 3], 1, "must be ascending and distinct"),
        ([3, 3], 1, "must be ascending and distinct"),
        ([3], 1, "must be 1 rows of 1536 bytes, got 3072 bytes"),
        ([3, 8], 2, "must be of unit length"),
    ],
)
def test_a_bad_codebook_is_refused(ids: list[int], scale: float, problem: str) -> None:
    vectors = np.stack([embedding(1), embedding(2)]) * np.float32(scale)

    with pytest.raises(InvalidInputError, match=problem):
        to_anchors(5, make_codebook(ids, vectors))


def test_a_trend_without_a_region_gets_the_shards() -> None:
    own = Trend("film:1", "", 2.0, Direction.RISING, 7.0)
    global_trend = Trend("", "Drama", 1.0, Direction.FALLING, 3.0, region="south", is_global=True)

    messages = from_trends([own, global_trend], "north")

    assert [each.region for each in messages] == ["north", "south"]
    assert [each.WhichOneof("subject") for each in messages] == ["content_id", "genre"]
    assert [each.scope for each in messages] == [
        patterns.TREND_SCOPE_REGIONAL,
        patterns.TREND_SCOPE_GLOBAL,
    ]
    assert messages[1].direction == patterns.TREND_DIRECTION_FALLING
