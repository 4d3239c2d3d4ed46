"""Frames of a shard that cannot be trusted, and a device that has to survive them."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.duration_pb2 import Duration

from constellation.v1 import patterns_pb2
from constellation.v1 import sync_pb2 as pb
from constellation_settop import (
    SyncSettings,
)
from tests.clients.samples import (
    ShardModel,
)
from tests.clients.stub_shard import StubShard, serve_stub

if TYPE_CHECKING:
    from pathlib import Path

    from tests.clients.stub_shard import StreamOverride
from typing import TYPE_CHECKING

import numpy as np

from constellation_settop.related_columns import from_related_rows
from constellation_settop.values import RelatedRow
from tests.clients.samples import (
    make_global_update,
    make_pattern,
    make_row_id,
)

if TYPE_CHECKING:
    from pathlib import Path

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from constellation_settop import (
    Device,
    DeviceSettings,
    View,
)
from tests.clients.samples import (
    make_catalogue,
)

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.clients.stub_shard import StreamOverride


QUICK = SyncSettings(backoff_base_seconds=0.01, backoff_cap_seconds=0.05)


MANY = 2**32 - 1


DEADLINE_SECONDS = 10


@asynccontextmanager
async def open_device(
    stub: StubShard, data_dir: Path, sync: SyncSettings = QUICK
) -> AsyncIterator[Device]:
    """Open a device that has something to send; when the block ends, it must recommend."""
    settings = DeviceSettings(sync=sync)
    async with (
        serve_stub(stub) as address,
        Device.open(
            address, data_dir=data_dir, catalogue=make_catalogue(), settings=settings
        ) as device,
    ):
        device.observe(View("0-1", 1.0, 1.0))
        yield device
        assert device.recommend(limit=1)[0].content_id.startswith("0-")


def make_welcome(**fields: Any) -> pb.SyncResponse:
    frame = ShardModel(cursor=0).make_welcome()
    frame.welcome.MergeFrom(pb.Welcome(**fields))
    return frame


def make_redirect(address: str, delay_seconds: int = 0) -> pb.SyncResponse:
    delay = Duration(seconds=delay_seconds)
    redirect = pb.Redirect(address=address, shard_id=1, delay_min=delay, delay_max=delay)
    return pb.SyncResponse(redirect=redirect)


def make_ack(**fields: Any) -> pb.SyncResponse:
    return pb.SyncResponse(delta_ack=patterns_pb2.DeltaAck(**fields))


def make_update(**fields: Any) -> pb.SyncResponse:
    """Return an update with one similar pattern, and some fields as a test says."""
    update = make_global_update([make_pattern(5)], 1)
    for name, value in fields.items():
        update.ClearField(name)  # type: ignore[arg-type]  # any field
        update.MergeFrom(patterns_pb2.GlobalUpdate(**{name: value}))
    return pb.SyncResponse(global_update=update)


def collect_acks(answers: asyncio.Queue[pb.GlobalAck], *frames: pb.SyncResponse) -> StreamOverride:
    """Answer Hello with a Welcome and these frames; keep what the device says about updates."""

    async def serve(context: Any) -> None:
        await context.read()
        for frame in (make_welcome(), *frames):
            await context.write(frame)
        while (request := await context.read()) is not grpc.aio.EOF:
            if request.HasField("global_ack"):
                answers.put_nowait(request.global_ack)

    return serve


REFUSED_UPDATES: dict[str, pb.SyncResponse] = {
    "an embedding of NaN": make_update(
        similar=patterns_pb2.PatternColumns(
            ids=bytes(16),
            encoding=patterns_pb2.ENCODING_FLOAT32,
            embeddings=np.full(384, np.nan, "<f4").tobytes(),
        )
    ),
    "a cut embedding": make_update(
        similar=patterns_pb2.PatternColumns(
            ids=bytes(16), encoding=patterns_pb2.ENCODING_INT8, embeddings=bytes(7)
        )
    ),
    "an unknown encoding": make_update(
        similar=patterns_pb2.PatternColumns(ids=bytes(16), encoding=99, embeddings=bytes(388))  # type: ignore[arg-type]
    ),
    "cut ids": make_update(removed_similar_ids=b"short"),
    "no similarities": make_update(similarities=[]),
    "a similarity of NaN": make_update(similarities=[float("nan")]),
    "a count that is not so": make_update(similar_count=MANY),
    "a trend that is infinitely popular": make_update(
        trends=[patterns_pb2.Trend(genre="Drama", score=1, popularity=float("inf"))]
    ),
    "a trend about nothing": make_update(trends=[patterns_pb2.Trend(score=1)]),
    "too many trends": make_update(
        trends=[patterns_pb2.Trend(content_id=f"film:{each}", score=1) for each in range(1001)],
        trend_count=1001,
    ),
    "a related row of another content item": make_update(
        related=from_related_rows({bytes(16): RelatedRow("a", ("b",), b"1", 0)}), related_count=1
    ),
    "a related row without end": make_update(
        related=patterns_pb2.RelatedRows(
            ids=make_row_id("a"),
            content_ids=["a", *map(str, range(255))],
            contents=[0],
            neighbour_counts=b"\xff",
            neighbours=range(1, 256),
            weights=bytes([1]) * 255,
            shifts=bytes(1),
        ),
        related_count=1,
    ),
    "a related row that names nothing": make_update(
        related=patterns_pb2.RelatedRows(
            ids=make_row_id("a"),
            content_ids=["a"],
            contents=[0],
            neighbour_counts=b"\x01",
            neighbours=[MANY],
            weights=b"1",
            shifts=bytes(1),
        ),
        related_count=1,
    ),
    "a related count that is not so": make_update(related_count=MANY),
    "three popular lists": make_update(
        popular=[
            patterns_pb2.PopularContents(id=bytes([each]) * 16, region=str(each))
            for each in range(3)
        ]
    ),
    "an endless popular list": make_update(
        popular=[
            patterns_pb2.PopularContents(
                id=bytes(16), content_ids=map(str, range(10_000)), households=range(10_000)
            )
        ]
    ),
    "a long name": make_update(
        trends=[patterns_pb2.Trend(genre="x" * 1000, score=1)], trend_count=1
    ),
}


HUGE = 2**62


class LargestDelay(Random):
    """Draws the upper bound, so that delays are those of the back-off without jitter."""

    def uniform(self, a: float, b: float) -> float:
        return max(a, b)
