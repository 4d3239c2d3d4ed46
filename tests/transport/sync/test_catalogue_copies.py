"""Copies of the catalogue over real gRPC: whole, brought up to date, interrupted."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from constellation.auth.principal import Role
from constellation.config import Interval, Secret
from constellation.transport.sync import catalogue_copies
from constellation.v1 import patterns_pb2, shard_pb2
from constellation.v1 import sync_pb2 as pb
from constellation.v1.shard_pb2_grpc import ShardServiceStub
from constellation.v1.sync_pb2_grpc import SyncServiceStub
from tests.auth.callers import Keys, to_metadata
from tests.conftest import run_shard
from tests.deltas import device_id
from tests.polling import wait_until
from tests.sync_client import make_pull, read_error_reason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    from constellation.server import RunningShard

MODULUS = 2**64


class CatalogueCopy:
    """A device's copy, kept as the API says."""

    def __init__(self) -> None:
        self.buckets: list[dict[str, pb.CatalogueItem]] = []
        self.responses: list[pb.GetCatalogueResponse] = []

    @property
    def digests(self) -> list[int]:
        return [sum(item.hash for item in each.values()) % MODULUS for each in self.buckets]

    @property
    def items(self) -> dict[str, pb.CatalogueItem]:
        return {name: item for bucket in self.buckets for name, item in bucket.items()}

    def make_request(self) -> pb.GetCatalogueRequest:
        return pb.GetCatalogueRequest(bucket_digests=np.array(self.digests, "<u8").tobytes())

    def apply(self, response: pb.GetCatalogueResponse) -> None:
        self.responses.append(response)
        if len(self.buckets) != response.bucket_count:
            self.buckets = [{} for _ in range(response.bucket_count)]
        for bucket in response.buckets:
            self.buckets[bucket] = {}
        for item in response.items:
            key = int.from_bytes(sha256(item.content_id.encode()).digest()[:4], "big")
            assert key % response.bucket_count in response.buckets
            self.buckets[key % response.bucket_count][item.content_id] = item

    async def update(self, channel: grpc.aio.Channel, most: int | None = None) -> None:
        """Bring the copy up to date; with `most`, break off after so many responses."""
        self.responses = []
        call: Any = SyncServiceStub(channel).GetCatalogue(self.make_request())
        async for response in call:
            self.apply(response)
            if len(self.responses) == most:
                call.cancel()
                return


def make_contents(numbers: Iterable[int], title: str = "Film") -> list[shard_pb2.Content]:
    return [
        shard_pb2.Content(
            content_id=f"film:{number}",
            title=f"{title} {number}",
            content_type=patterns_pb2.CONTENT_TYPE_MOVIE,
            genres=["Drama", "Noir"],
            year=1972,
            encoding=patterns_pb2.ENCODING_FLOAT32,
            embedding=np.random.default_rng(number).standard_normal(384).astype("<f4").tobytes(),
        )
        for number in numbers
    ]


async def add_contents(channel: grpc.aio.Channel, contents: list[shard_pb2.Content]) -> None:
    for start in range(0, len(contents), 250):
        request = shard_pb2.AddContentRequest(contents=contents[start : start + 250])
        await ShardServiceStub(channel).AddContent(request)


async def read_welcome_digest(channel: grpc.aio.Channel) -> int:
    response = await SyncServiceStub(channel).Exchange(make_pull(1))
    return int(response.welcome.catalogue_digest)


@asynccontextmanager
async def open_shard(kind: str, tmp_path: Path, url: str) -> AsyncIterator[grpc.aio.Channel]:
    stores: dict[str, dict[str, Any]] = {
        "memory": {},
        "sqlite": {"data_dir": tmp_path},
        "postgres": {"postgres_url": Secret(url)},
    }
    async with (
        run_shard(**stores[kind]) as shard,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel,
    ):
        yield channel


@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgres"])
async def test_a_copy_is_whole_then_brought_up_to_date_also_after_a_restart(
    kind: str, tmp_path: Path, postgres_url: str
) -> None:
    copy = CatalogueCopy()
    async with open_shard(kind, tmp_path, postgres_url) as channel:
        await add_contents(channel, make_contents(range(1000)))
        await copy.update(channel)
        listed = await ShardServiceStub(channel).GetContent(
            shard_pb2.GetContentRequest(content_id="film:7")
        )
        digest = await read_welcome_digest(channel)

        assert set(copy.items) == {f"film:{number}" for number in range(1000)}
        assert len(copy.buckets) == 128
        assert sum(copy.digests) % MODULUS == digest
        item = copy.items["film:7"]
        assert (item.title, item.year, item.content_type) == ("Film 7", 1972, 1)
        assert list(item.genres) == ["Drama", "Noir"]
        assert item.embedding == listed.content.embedding

        await copy.update(channel)
        assert [list(each.buckets) for each in copy.responses] == [[]]

        await add_contents(channel, make_contents([7, 2000], title="New"))
        assert await read_welcome_digest(channel) != digest
        await copy.update(channel)
        assert sum(len(each.buckets) for each in copy.responses) in (1, 2)
        assert copy.items["film:7"].title == "New 7"
        assert len(copy.items) == 1001
        digest = await read_welcome_digest(channel)
    if kind == "memory":
        return
    async with open_shard(kind, tmp_path, postgres_url) as channel:
        assert await read_welcome_digest(channel) == digest == sum(copy.digests) % MODULUS
        await copy.update(channel)
        assert [list(each.buckets) for each in copy.responses] == [[]]


async def test_a_copy_that_was_interrupted_goes_on_where_it_ended(
    channel: grpc.aio.Channel,
) -> None:
    await add_contents(channel, make_contents(range(2000)))
    copy = CatalogueCopy()
    await copy.update(channel, most=2)
    first = {bucket for response in copy.responses for bucket in response.buckets}

    await copy.update(channel)

    again = {bucket for response in copy.responses for bucket in response.buckets}
    assert len(copy.items) == 2000
    assert first
    assert not first & again


async def test_responses_are_bounded_and_have_whole_buckets(channel: grpc.aio.Channel) -> None:
    await add_contents(channel, make_contents(range(2000)))
    copy = CatalogueCopy()
    await copy.update(channel)

    assert len(copy.responses) > 3
    assert max(response.ByteSize() for response in copy.responses) <= 256 * 1024
    buckets = [bucket for response in copy.responses for bucket in response.buckets]
    assert buckets == sorted(set(buckets))
    assert {response.bucket_count for response in copy.responses} == {256}


async def test_a_copy_of_an_empty_catalogue_knows_that_it_is_empty(
    channel: grpc.aio.Channel,
) -> None:
    copy = CatalogueCopy()
    await copy.update(channel)

    assert [each.bucket_count for each in copy.responses] == [1]
    assert await read_welcome_digest(channel) == 0


async def test_what_another_shard_had_is_replaced_bucket_by_bucket() -> None:
    copy = CatalogueCopy()
    async with AsyncExitStack() as stack:
        channels = []
        for numbers in (range(300), range(150, 400)):
            shard = await stack.enter_async_context(run_shard())
            opened = grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}")
            channels.append(await stack.enter_async_context(opened))
            await add_contents(channels[-1], make_contents(numbers))
        await copy.update(channels[0])
        await copy.update(channels[1])
        digest = await read_welcome_digest(channels[1])

    assert set(copy.items) == {f"film:{number}" for number in range(150, 400)}
    assert sum(copy.digests) % MODULUS == digest


async def test_a_catalogue_that_outgrew_a_copy_is_sent_anew_with_more_buckets(
    channel: grpc.aio.Channel,
) -> None:
    copy = CatalogueCopy()
    await add_contents(channel, make_contents(range(5)))
    await copy.update(channel)
    await add_contents(channel, make_contents(range(5, 100)))
    await copy.update(channel)

    assert len(copy.buckets) == 16
    assert len(copy.items) == 100


@pytest.mark.parametrize("size", [1, 7, 24, 8 * 32_768])
async def test_digests_of_an_impossible_number_of_buckets_are_refused(
    channel: grpc.aio.Channel, size: int
) -> None:
    call: Any = SyncServiceStub(channel).GetCatalogue(
        pb.GetCatalogueRequest(bucket_digests=bytes(size))
    )
    with pytest.raises(grpc.aio.AioRpcError, match="power of two of buckets, at most 16384"):
        await call.read()
    assert call.done()


@asynccontextmanager
async def open_calls(
    port: int, count: int, metadata: tuple[tuple[str, str], ...] = ()
) -> AsyncIterator[list[Any]]:
    """Begin copies, each over a connection of its own: an unread one would hold the others."""
    async with AsyncExitStack() as stack:
        calls = []
        # Without probes, the window stays small: nothing is received that nobody reads.
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0)]
        for _ in range(count):
            opened = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options)
            channel = await stack.enter_async_context(opened)
            stub, request = SyncServiceStub(channel), pb.GetCatalogueRequest()
            calls.append(stub.GetCatalogue(request, metadata=metadata))
        yield calls


async def test_only_so_many_copies_are_served_and_the_next_hears_when_to_come_again(
    shard: RunningShard, channel: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue_copies, "MAX_COPIES", 2)
    await add_contents(channel, make_contents(range(3000)))
    async with open_calls(shard.port, 2) as calls:
        for call in calls:
            await call.read()  # it is served, and waits for its device to read on
        refused: Any = SyncServiceStub(channel).GetCatalogue(pb.GetCatalogueRequest())
        with pytest.raises(grpc.aio.AioRpcError, match="2 devices are copying the catalogue"):
            await refused.read()
        reason = await read_error_reason(refused)
        for call in calls:
            await read_to_the_end(call)
    copy = CatalogueCopy()
    await copy.update(channel)

    assert reason == "TOO_MANY_CALLS"
    assert len(copy.items) == 3000


async def test_a_device_that_stops_reading_is_cut_off_and_gives_its_place_to_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(catalogue_copies, "MAX_COPIES", 1)
    copy = CatalogueCopy()
    async with (
        run_shard(slow_reader_seconds=Interval(0.5)) as shard,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel,
    ):
        await add_contents(channel, make_contents(range(3000)))

        async def is_admitted() -> bool:
            try:
                await copy.update(channel)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                    return False
                raise
            return True

        async with open_calls(shard.port, 1) as (stuck,):
            await stuck.read()
            assert not await is_admitted()
            await wait_until(is_admitted)
            with pytest.raises(grpc.aio.AioRpcError, match=r"has read nothing for 0\.5 seconds"):
                await read_to_the_end(stuck)

    assert len(copy.items) == 3000


async def test_one_device_does_not_take_the_places_of_the_others(tmp_path: Path) -> None:
    keys = Keys.make(tmp_path)
    feeder = to_metadata(keys.issue(Role.FEEDER))
    first, second = (
        to_metadata(keys.issue(Role.DEVICE, subject=device_id(n).hex())) for n in (1, 2)
    )
    request = pb.GetCatalogueRequest()
    async with (
        run_shard(token_keys=keys.path) as shard,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel,
    ):
        contents = make_contents(range(3000))
        for start in range(0, len(contents), 250):
            added = shard_pb2.AddContentRequest(contents=contents[start : start + 250])
            await ShardServiceStub(channel).AddContent(added, metadata=feeder)
        async with open_calls(shard.port, 2, first) as copies:
            for call in copies:
                await call.read()
            refused: Any = SyncServiceStub(channel).GetCatalogue(request, metadata=first)
            with pytest.raises(grpc.aio.AioRpcError, match="is copying the catalogue 2 times"):
                await refused.read()
            admitted: Any = SyncServiceStub(channel).GetCatalogue(request, metadata=second)
            assert (await admitted.read()).bucket_count == 512


async def read_to_the_end(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass
