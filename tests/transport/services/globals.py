"""Global states as a federation publishes them, whole and in frames."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np

from constellation.v1 import aggregates_pb2 as pb
from constellation.v1 import patterns_pb2
from constellation.v1.aggregates_pb2_grpc import AggregateServiceStub
from tests.deltas import embedding

if TYPE_CHECKING:
    from collections.abc import Iterator

    import grpc


def make_codebook(version: int = 1, directions: int = 2) -> pb.Codebook:
    anchors = np.stack([embedding(1 + number) for number in range(directions)]).astype("<f4")
    return pb.Codebook(
        version=version, cluster_ids=range(1, directions + 1), anchors=anchors.tobytes()
    )


def make_global(round_id: int = 1, generation: int = 5, **parts: Any) -> pb.Global:
    clusters = pb.GlobalClusters()
    clusters.patterns.encoding = patterns_pb2.ENCODING_INT8
    return pb.Global(
        generation=generation,
        round_id=round_id,
        **{"codebook": make_codebook(), "clusters": clusters, **parts},
    )


def to_frames(message: pb.Global, **header: Any) -> Iterator[pb.PublishGlobalRequest]:
    payload = message.SerializeToString()
    named = {
        "generation": message.generation,
        "round_id": message.round_id,
        "size_bytes": len(payload),
        "sha256": sha256(payload).digest(),
    }
    yield pb.PublishGlobalRequest(header=pb.GlobalHeader(**{**named, **header}))
    for start in range(0, len(payload), 1000):
        yield pb.PublishGlobalRequest(chunk=payload[start : start + 1000])


async def publish(channel: grpc.aio.Channel, sent: Any) -> pb.PublishGlobalResponse:
    answer: pb.PublishGlobalResponse = await AggregateServiceStub(channel).PublishGlobal(sent)
    return answer


async def pull(channel: grpc.aio.Channel, **request: Any) -> list[pb.PullAggregateResponse]:
    call = AggregateServiceStub(channel).PullAggregate(pb.PullAggregateRequest(**request))
    return [chunk async for chunk in call]
