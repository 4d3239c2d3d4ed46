"""Liked content over real gRPC: what devices sent is counted exactly, on every store, for good."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from itertools import combinations
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from constellation.config import Ratio, Secret
from constellation.core.loading import load_shard
from constellation.core.rows import MAX_LIKED
from constellation.core.rules import Rules
from constellation.stores import open_reader
from constellation.v1 import aggregates_pb2 as pb
from constellation.v1 import shard_pb2
from constellation.v1.shard_pb2_grpc import ShardServiceStub
from constellation.v1.sync_pb2_grpc import SyncServiceStub
from tests.conftest import make_shard_config, run_shard
from tests.deltas import device_id
from tests.federation.fleet import HOUR
from tests.related import make_popular, make_related_global, make_related_rows
from tests.sync_client import make_delta_message, make_push
from tests.transport.services.globals import publish, pull, to_frames

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
    from pathlib import Path

    from constellation.server import RunningShard

CONTENTS = [f"film:{number}" for number in range(12)]
DEVICES = range(8)


class Devices:
    """Devices that sync with a shard, and what each of them liked by now."""

    def __init__(self) -> None:
        self.liked: dict[int, list[str]] = {}
        self._seqs: Counter[int] = Counter()

    async def push(self, channel: grpc.aio.Channel, device: int, **parts: Any) -> None:
        """Send a delta, and its duplicate."""
        self._seqs[device] += 1
        delta = make_delta_message(self._seqs[device], **parts)
        request = make_push(device, delta)
        stub: Any = SyncServiceStub(channel)
        for _ in range(2):
            ack = (await stub.Exchange(request)).ack
            assert (ack.through_seq, ack.signals_dropped) == (self._seqs[device], 0)
        before = parts.get("liked", ()) if parts.get("snapshot") else self.liked.get(device, ())
        liked = [each for each in before if each not in parts.get("withdrawn", ())]
        for content, _ in parts.get("signals", ()):
            liked = [*(each for each in liked if each != content), content]
        self.liked[device] = liked[-MAX_LIKED:]

    async def delete(self, channel: grpc.aio.Channel, device: int) -> None:
        stub: Any = ShardServiceStub(channel)
        await stub.DeleteDevice(shard_pb2.DeleteDeviceRequest(device_id=device_id(device)))
        del self.liked[device]
        del self._seqs[device]

    async def push_random(self, channel: grpc.aio.Channel, random: np.random.Generator) -> None:
        """Let each device send a snapshot, withdraw something, or watch something new."""
        for device in DEVICES:
            chosen = random.permutation(CONTENTS)[: int(random.integers(1, 5))].tolist()
            match int(random.integers(3)):
                case 0:
                    await self.push(channel, device, snapshot=True, liked=chosen)
                case 1:
                    await self.push(channel, device, withdrawn=chosen)
                case _:
                    fresh = [each for each in chosen if each not in self.liked.get(device, ())]
                    hour = HOUR - 40 + self._seqs[device]
                    await self.push(channel, device, signals=[(each, hour) for each in fresh])

    def count(self, dictionary: Sequence[str]) -> tuple[Counter[str], Counter[tuple[str, ...]]]:
        """Return the devices of each content item, and of each pair of the dictionary."""
        lists = self.liked.values()
        return Counter(content for each in lists for content in each), Counter(
            pair
            for each in lists
            for pair in combinations([text for text in dictionary if text in each], 2)
        )


def read_answer(
    chunks: Iterable[pb.PullAggregateResponse], dictionary: Sequence[str]
) -> tuple[Mapping[str, int], Mapping[tuple[str, ...], int]]:
    """Return the likes and the pairs of an answer; its header must say how many there are."""
    header, *rest = chunks
    likes: dict[str, int] = {}
    pairs: dict[tuple[str, ...], int] = {}
    rows = 0
    for chunk in rest:
        likes.update(zip(chunk.likes.content_ids, chunk.likes.devices, strict=True))
        columns = np.frombuffer(chunk.pairs.columns, "<u4").tolist()
        devices = np.frombuffer(chunk.pairs.devices, "<u4").tolist()
        owners = np.repeat(list(chunk.pairs.rows), list(chunk.pairs.lengths)).astype(int).tolist()
        rows += len(chunk.pairs.rows)
        for row, column, count in zip(owners, columns, devices, strict=True):
            pairs[dictionary[row], dictionary[column]] = count
    assert (header.header.like_count, header.header.pair_row_count) == (len(likes), rows)
    return likes, pairs


async def require_exact(channel: grpc.aio.Channel, devices: Devices) -> None:
    chunks = await pull(channel, include_likes=True)
    assert read_answer(chunks, CONTENTS) == devices.count(CONTENTS)
    liking = sum(1 for each in devices.liked.values() if each)
    assert chunks[0].header.contributors == liking


@pytest.fixture(params=["sqlite", "postgres"])
def durable_settings(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """The settings of a shard on each durable store."""
    if request.param == "sqlite":
        return {"data_dir": tmp_path / "shard"}
    return {"postgres_url": Secret(request.getfixturevalue("postgres_url"))}


@asynccontextmanager
async def open_shard(**settings: Any) -> AsyncIterator[tuple[RunningShard, grpc.aio.Channel]]:
    async with (
        run_shard(**settings) as shard,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel,
    ):
        yield shard, channel


async def publish_dictionary(channel: grpc.aio.Channel, round_id: int = 1) -> None:
    message = make_related_global(round_id, dictionary=CONTENTS, dictionary_version=round_id)
    await publish(channel, to_frames(message))


async def test_counts_stay_exact_over_deltas_deletions_and_restarts(
    durable_settings: dict[str, Any],
) -> None:
    random, devices = np.random.default_rng(3), Devices()
    for start in range(2):
        async with open_shard(**durable_settings) as (_, channel):
            if start:
                await require_exact(channel, devices)
            await publish_dictionary(channel)
            for _ in range(3):
                await devices.push_random(channel, random)
                await require_exact(channel, devices)
            await devices.delete(channel, 2 + start)
            await require_exact(channel, devices)

    async with open_reader(make_shard_config(**durable_settings)) as reader:
        loaded = await load_shard(reader, Rules(max_devices=100, max_patterns=100))
    assert loaded.problems == []
    assert len(loaded.table.liked) == sum(1 for each in devices.liked.values() if each)


async def test_counts_in_memory_are_exact_too(channel: grpc.aio.Channel) -> None:
    random, devices = np.random.default_rng(4), Devices()
    await publish_dictionary(channel)
    for _ in range(4):
        await devices.push_random(channel, random)
        await require_exact(channel, devices)


async def test_a_pull_answers_with_the_pairs_that_changed(channel: grpc.aio.Channel) -> None:
    devices = Devices()
    await publish_dictionary(channel)
    await devices.push(channel, 0, snapshot=True, liked=CONTENTS[:3])
    whole = await pull(channel, include_likes=True)
    await devices.push(channel, 1, snapshot=True, liked=CONTENTS[1:3])

    more = await pull(channel, include_likes=True, known_versions=[whole[0].version])
    same = await pull(channel, include_likes=True, known_versions=[more[0].version])
    without = await pull(channel, known_versions=[more[0].version])

    assert read_answer(more, CONTENTS)[1] == {(CONTENTS[1], CONTENTS[2]): 2}
    assert more[0].header.dictionary_version == 1
    assert more[0].header.dictionary_generation == 5
    assert more[0].header.dictionary_effective_version <= whole[0].version.version
    assert same[0].version == more[0].version
    assert same[0].header.pair_row_count == 0
    assert read_answer(same, CONTENTS)[0] == devices.count(CONTENTS)[0]
    assert not any(chunk.HasField("likes") for chunk in without)


async def test_without_a_dictionary_there_are_likes_and_no_pairs(
    channel: grpc.aio.Channel,
) -> None:
    devices = Devices()
    await devices.push(channel, 0, snapshot=True, liked=CONTENTS[:3])

    chunks = await pull(channel, include_likes=True)

    assert read_answer(chunks, CONTENTS) == (dict.fromkeys(CONTENTS[:3], 1), {})
    assert chunks[0].header.dictionary_version == 0


async def test_pulls_at_the_same_time_agree(channel: grpc.aio.Channel) -> None:
    random, devices = np.random.default_rng(5), Devices()
    await publish_dictionary(channel)
    await devices.push_random(channel, random)

    answers = await asyncio.gather(*(pull(channel, include_likes=True) for _ in range(3)))

    for chunks in answers:
        assert read_answer(chunks, CONTENTS) == devices.count(CONTENTS)


async def test_no_chunk_is_larger_than_a_mebibyte(channel: grpc.aio.Channel) -> None:
    devices = Devices()
    names = [f"{number:064d}" for number in range(2048)]
    message = make_related_global(dictionary=names)
    await publish(channel, to_frames(message))
    for device in range(16):
        liked = names[device * 128 :][:128]
        await devices.push(channel, device, snapshot=True, liked=liked)

    chunks = await pull(channel, include_likes=True)

    assert read_answer(chunks, names) == devices.count(names)
    assert max(each.ByteSize() for each in chunks) <= 1 << 20
    assert len([each for each in chunks if each.HasField("pairs")]) > 1


async def test_a_lower_sample_deletes_what_the_other_devices_liked(tmp_path: Path) -> None:
    devices = Devices()
    async with open_shard(data_dir=tmp_path) as (_, channel):
        for device in range(40):
            await devices.push(channel, device, snapshot=True, liked=CONTENTS[:2])

    counts = []
    for hour, share in enumerate((0.5, 1.0, 0.0), HOUR - 5):
        async with open_shard(data_dir=tmp_path, related_sample=Ratio(share)) as (shard, channel):
            chunks = await pull(channel, include_likes=True)
            counts.append(chunks[0].header.contributors)
            for device in range(40):
                await devices.push(channel, device, signals=[("film:9", hour)])
            table, sample = shard.manager.table, shard.manager.sample
            liking = table.devices["device_id"][table.liked.list_devices()]
            sampled = {device_id(each) for each in range(40) if sample.contains(device_id(each))}
            assert {each.tobytes() for each in liking} == sampled

    assert 0 < counts[0] < 40
    assert counts[1:] == [counts[0], 0]


async def test_operators_see_what_is_kept_and_published(channel: grpc.aio.Channel) -> None:
    devices = Devices()
    rows = make_related_rows({"a": {"b": 3}, "b": {"a": 4}})
    message = make_related_global(rows=rows, popular=[make_popular("", {"a": 9})])
    await publish(channel, to_frames(message))
    await devices.push(channel, 0, snapshot=True, liked=["a", "b", "c"])
    await devices.push(channel, 1, signals=[("d", HOUR)])
    stub: Any = ShardServiceStub(channel)

    stats = await stub.GetStats(shard_pb2.GetStatsRequest())
    device = await stub.GetDevice(shard_pb2.GetDeviceRequest(device_id=device_id(0)))

    assert (stats.contributors, stats.liked_contents) == (2, 4)
    assert (stats.related_rows, stats.popular_lists) == (2, 1)
    assert list(device.liked_content_ids) == ["c", "b", "a"]
