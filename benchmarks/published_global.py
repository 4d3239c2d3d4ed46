"""Global states as a federation publishes them to a shard."""

from __future__ import annotations

import time
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from constellation.v1 import aggregates_pb2, patterns_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

PUBLISH: Final = "/constellation.v1.AggregateService/PublishGlobal"
_GENERATION: Final = 1
_TRENDS: Final = 50
_POPULAR: Final = 200
_CHUNK: Final = 1 << 19
"""Bytes of a frame, of which a shard takes at most 1 MiB."""


def make_trending_global(round_id: int) -> aggregates_pb2.Global:
    """Return a state whose trends and list of popular content differ from every other round's."""
    names = [f"film:{round_id}:{number}" for number in range(_POPULAR)]
    clusters = aggregates_pb2.GlobalClusters()
    clusters.patterns.encoding = patterns_pb2.ENCODING_INT8
    return aggregates_pb2.Global(
        generation=_GENERATION,
        round_id=round_id,
        closed_at=int(time.time()),
        clusters=clusters,
        trends=[
            patterns_pb2.Trend(
                content_id=name,
                score=10.0 + at,
                scope=patterns_pb2.TREND_SCOPE_GLOBAL,
                direction=patterns_pb2.TREND_DIRECTION_RISING,
                popularity=100.0,
            )
            for at, name in enumerate(names[:_TRENDS])
        ],
        popular=[
            patterns_pb2.PopularContents(
                id=round_id.to_bytes(16, "little"),
                content_ids=names,
                households=range(2 * _POPULAR, _POPULAR, -1),
            )
        ],
    )


def make_publish_requests(
    message: aggregates_pb2.Global,
) -> Iterator[aggregates_pb2.PublishGlobalRequest]:
    """Yield the frames of a PublishGlobal call: the header, then chunks."""
    payload = message.SerializeToString()
    yield aggregates_pb2.PublishGlobalRequest(
        header=aggregates_pb2.GlobalHeader(
            generation=message.generation,
            round_id=message.round_id,
            size_bytes=len(payload),
            sha256=sha256(payload).digest(),
        )
    )
    for start in range(0, len(payload), _CHUNK):
        yield aggregates_pb2.PublishGlobalRequest(chunk=payload[start : start + _CHUNK])
