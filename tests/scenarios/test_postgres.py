"""Shards on PostgreSQL keep every acked delta when the server crashes or the owner changes."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc
import psycopg
import pytest

from constellation.config import Count
from constellation.core.ingest.deltas import Verdict
from constellation.core.rows import TermKind
from constellation.storage.postgres import migrations
from constellation.storage.postgres.dialect import PGVECTOR
from constellation.v1 import health_pb2 as health
from constellation.v1 import health_pb2_grpc, shard_pb2, shard_pb2_grpc
from tests.conftest import run_shard
from tests.deltas import PatternSpec, embedding
from tests.polling import wait_until
from tests.proxy import LostCommit, Proxy, open_postgres_proxy
from tests.scenarios.processes import (
    ShardProcess,
    read_port,
    run_command,
    run_shard_process,
    start_shard_process,
    wait_for_event,
)
from tests.scenarios.replayable_devices import (
    ReplayableDevice,
    StoredDeviceState,
    push_all,
    read_stored_devices,
)
from tests.sharing import share_patterns
from tests.sync_client import make_delta_message, open_stream, read_error_reason
from tests.transport.inbox_client import push_delta

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from constellation.server import RunningShard
    from testing.postgres_server import PostgresServer

DEVICES = 24
CRASHES = 3


@pytest.fixture
async def own_database_url(postgres_server: PostgresServer, request: pytest.FixtureRequest) -> str:
    """A migrated database on a server that the test may crash."""
    url = postgres_server.create_database(f"own_{abs(hash(request.node.name))}")
    await migrations.migrate(url, PGVECTOR)
    return url


async def push_to_end(
    devices: list[ReplayableDevice], shard: ShardProcess, acks: asyncio.Queue[None], end: int
) -> None:
    """Push until every delta up to seq `end` is acked, even if the shard refuses meanwhile.

    The devices connect from one address and do not wait in between, so the shard must not limit it.
    """
    async with asyncio.timeout(40):
        while waiting := [device for device in devices if device.acked_seq < end]:
            await push_all(waiting, shard, lambda: acks.put_nowait(None), end)
            acks.put_nowait(None)  # the last answer may have been a welcome


async def wait_for_acked(
    devices: list[ReplayableDevice], acks: asyncio.Queue[None], count: int
) -> None:
    """Wait until the devices have `count` acked deltas in all; one ack may be for several."""
    while sum(device.acked_seq for device in devices) < count:
        await acks.get()


async def test_a_database_that_crashes_under_load_loses_no_acked_delta(
    postgres_server: PostgresServer, own_database_url: str
) -> None:
    devices = [ReplayableDevice(number) for number in range(DEVICES)]
    acks: asyncio.Queue[None] = asyncio.Queue()
    async with run_shard_process(
        postgres_url=own_database_url, max_connects_per_address=0
    ) as shard:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(push_to_end(devices, shard, acks, 120))
            for crash in range(CRASHES):
                await wait_for_acked(devices, acks, 700 * (crash + 1))
                postgres_server.stop(signal.SIGQUIT)
                postgres_server.start()
        shard.process.terminate()
        finished = await shard.wait_for_exit()

    assert finished.status == 0
    checked = await run_command("check", postgres_url=own_database_url)
    assert (checked.status, checked.out[:3]) == (0, "ok:")
    expected = [
        StoredDeviceState(device.number, 120, device.expected_patterns()) for device in devices
    ]
    assert await read_stored_devices(DEVICES, postgres_url=own_database_url) == expected


async def test_backends_killed_under_load_lose_no_acked_delta(postgres_url: str) -> None:
    devices = [ReplayableDevice(number) for number in range(DEVICES)]
    acks: asyncio.Queue[None] = asyncio.Queue()
    async with run_shard_process(postgres_url=postgres_url, max_connects_per_address=0) as shard:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(push_to_end(devices, shard, acks, 100))
            for kill in range(5):
                await wait_for_acked(devices, acks, 400 * (kill + 1))
                await asyncio.to_thread(_kill_backends, postgres_url)
        shard.process.terminate()
        assert (await shard.wait_for_exit()).status == 0

    expected = [
        StoredDeviceState(device.number, 100, device.expected_patterns()) for device in devices
    ]
    assert await read_stored_devices(DEVICES, postgres_url=postgres_url) == expected


def _kill_backends(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'constellation' AND datname = current_database()"
        )


async def test_of_two_processes_with_one_shard_id_one_serves_and_one_waits(
    postgres_url: str,
) -> None:
    async with run_shard_process(postgres_url=postgres_url) as first:
        second = await start_shard_process(postgres_url=postgres_url)
        try:
            waited = await wait_for_event(second, "waiting_for_lease")
            assert waited["owner"].endswith("(epoch 1)")
            device = ReplayableDevice(0)
            await device.push(first, lambda: None, 5)
            assert device.acked_seq == 5

            first.process.terminate()

            assert (await first.wait_for_exit()).status == 0
            shard = ShardProcess(second, await read_port(second))
            await device.push(shard, lambda: None, 9)
            assert device.acked_seq == 9
            second.terminate()
            assert (await shard.wait_for_exit()).status == 0
        finally:
            if second.returncode is None:
                second.kill()
                await second.communicate()


async def test_a_process_that_waits_for_its_lease_can_be_stopped(postgres_url: str) -> None:
    async with run_shard_process(postgres_url=postgres_url):
        second = await start_shard_process(postgres_url=postgres_url)
        await wait_for_event(second, "waiting_for_lease")

        second.terminate()

        assert (await ShardProcess(second, 0).wait_for_exit()).status == 0


async def test_an_owner_that_was_paused_past_its_lease_writes_nothing_and_ends(
    postgres_url: str,
) -> None:
    device, other = ReplayableDevice(0), ReplayableDevice(1)
    async with (
        run_shard_process(postgres_url=postgres_url, lease_seconds=1) as stale,
        grpc.aio.insecure_channel(stale.address) as channel,
        open_stream(channel) as stream,
    ):
        await stream.open(device=5)
        assert (await stream.push(1, [PatternSpec(1)])).through_seq == 1
        await device.push(stale, lambda: None, 5)
        stale.process.send_signal(signal.SIGSTOP)
        async with run_shard_process(postgres_url=postgres_url, lease_seconds=1) as owner:
            await device.push(owner, lambda: None, 20)
            await other.push(owner, lambda: None, 7)
            await stream.send(
                delta=make_delta_message(2, [PatternSpec(2)])
            )  # waits in the socket of the stopped process

            stale.process.send_signal(signal.SIGCONT)

            status = await stream.wait_for_status()
            assert status is grpc.StatusCode.UNAVAILABLE
            finished = await stale.wait_for_exit()
            owner.process.terminate()
            assert (await owner.wait_for_exit()).status == 0

    assert finished.status == 1
    assert "constellation: FENCED: epoch 1 was taken over by" in finished.err
    assert '"fenced"' in finished.err
    assert "Traceback" not in finished.err
    found = await read_stored_devices(6, postgres_url=postgres_url)
    assert found == [
        StoredDeviceState(0, 20, device.expected_patterns()),
        StoredDeviceState(1, 7, other.expected_patterns()),
        StoredDeviceState(5, 1, {PatternSpec(1).pattern_id: 3}),
    ]


async def test_a_killed_process_is_replaced_at_once_on_its_own_data_directory(
    postgres_url: str, tmp_path: Path
) -> None:
    settings = {"postgres_url": postgres_url, "data_dir": tmp_path, "lease_seconds": 600}
    async with run_shard_process(**settings) as shard:  # type: ignore[arg-type]
        shard.process.kill()
        await shard.wait_for_exit()

    async with run_shard_process(**settings) as shard:  # type: ignore[arg-type]
        shard.process.terminate()
        assert (await shard.wait_for_exit()).status == 0

    assert not (tmp_path / "shard.db").exists()


async def test_while_the_database_is_unavailable_the_shard_reads_and_refuses_writes(
    postgres_server: PostgresServer, own_database_url: str
) -> None:
    async with (
        run_shard(postgres_url=own_database_url, k_anonymity=Count(1)) as shard,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel,
    ):
        probe = health_pb2_grpc.HealthServiceStub(channel)
        async with open_stream(channel) as stream:
            await stream.open()
            await stream.push(1, [PatternSpec(1, direction=1)])
        await share_patterns(shard.manager)
        postgres_server.stop(signal.SIGQUIT)
        await wait_until(lambda: _is_ready(probe, ready=False))

        ready = await probe.GetReadiness(health.GetReadinessRequest())
        assert "store: PostgreSQL at 127.0.0.1" in ready.reason
        assert "does not answer" in ready.reason
        found = await shard_pb2_grpc.ShardServiceStub(channel).SearchPatterns(
            shard_pb2.SearchPatternsRequest(
                embeddings=embedding(1).astype("<f4").tobytes(),
                encoding=1,  # type: ignore[arg-type]  # enums are ints
                limit=1,
            )
        )
        assert found.similarities[0] > 0.99
        async with open_stream(channel) as stream:
            assert not (await stream.open(device=1)).full_resync
            await stream.send(delta=make_delta_message(1, [PatternSpec(2)]))
            assert await stream.wait_for_status() is grpc.StatusCode.UNAVAILABLE
            assert await read_error_reason(stream.call) == "NOT_READY"

        postgres_server.start()

        await wait_until(lambda: _is_ready(probe, ready=True))
        async with open_stream(channel) as stream:
            assert (await stream.open(device=1)).expected_seq == 1
            assert (await stream.push(1, [PatternSpec(2)])).through_seq == 1


async def _is_ready(probe: health_pb2_grpc.HealthServiceAsyncStub, *, ready: bool) -> bool:
    return (await probe.GetReadiness(health.GetReadinessRequest())).ready == ready


@asynccontextmanager
async def run_shard_behind_proxy(url: str) -> AsyncIterator[tuple[Proxy, RunningShard]]:
    """Run a shard that reaches its database through a proxy, with a short time-out."""
    async with (
        open_postgres_proxy(url) as (proxy, proxied_url),
        run_shard(postgres_url=proxied_url, postgres_timeout_seconds=2) as shard,
    ):
        yield proxy, shard


@pytest.mark.parametrize("written", [True, False])
async def test_a_delta_whose_commit_lost_its_response_is_applied_once(
    postgres_url: str, *, written: bool
) -> None:
    async with (
        run_shard_behind_proxy(postgres_url) as (proxy, shard),
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel,
    ):
        async with open_stream(channel) as stream:
            await stream.open()
            await stream.push(1, [PatternSpec(1)])
            proxy.lost_commit = LostCommit(b"INTO constellation.pattern", is_executed=written)
            await stream.send(
                delta=make_delta_message(2, [PatternSpec(2)], signals=[("film", _current_hour())])
            )
            assert await stream.wait_for_status() is grpc.StatusCode.UNAVAILABLE
        assert proxy.cut_count == 1

        async with open_stream(channel) as stream:
            await stream.open(last_acked_seq=1)
            resent = await stream.push(2, [PatternSpec(2)], signals=[("film", _current_hour())])

        assert resent.through_seq == 2
        stats = shard.manager.stats
        assert (stats.deltas[Verdict.APPLIED], stats.deltas[Verdict.DUPLICATE]) == (2, int(written))
        assert stats.unknown_commits == 1
        assert shard.manager.table.totals.patterns == 2
        assert shard.manager.ring.count(TermKind.CONTENT, _current_hour(), 1) == 1
        assert shard.manager.epoch == 2
    assert [device.seq for device in await read_stored_devices(1, postgres_url=postgres_url)] == [2]


@pytest.mark.parametrize("written", [True, False])
async def test_content_whose_commit_lost_its_response_is_resolved_before_the_next_write(
    postgres_url: str, *, written: bool
) -> None:
    async with (
        run_shard_behind_proxy(postgres_url) as (proxy, shard),
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel,
    ):
        operator = shard_pb2_grpc.ShardServiceStub(channel)
        request = shard_pb2.AddContentRequest(contents=[make_film("film:1", "noir")])
        proxy.lost_commit = LostCommit(b"INTO constellation.content", is_executed=written)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await operator.AddContent(request)
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE

        async with open_stream(channel) as stream:  # numbers its own terms
            await stream.open()
            await stream.push(1, [PatternSpec(1, genres=("drama",), contents=("film:2",))])

        again = await operator.AddContent(request)
        assert (again.added_count, again.replaced_count) == (int(not written), int(written))
        assert shard.manager.catalogue.count == 1
    checked = await run_command("check", postgres_url=postgres_url)
    assert checked.status == 0, checked.out


def make_film(content_id: str, genre: str) -> shard_pb2.Content:
    return shard_pb2.Content(
        content_id=content_id,
        title="A film",
        content_type=1,  # type: ignore[arg-type]  # enums are ints
        genres=[genre],
        encoding=1,  # type: ignore[arg-type]  # enums are ints
        embedding=embedding(1).astype("<f4").tobytes(),
    )


def _current_hour() -> int:
    return int(time.time()) // 3600


async def test_an_index_snapshot_newer_than_the_database_is_discarded(
    postgres_url: str, tmp_path: Path
) -> None:
    """A database that was restored or failed over is older than the cached snapshot."""
    settings = {
        "postgres_url": postgres_url,
        "data_dir": tmp_path,
        "exact_limit": 100,
        "k_anonymity": Count(1),
    }
    async with run_shard(**settings) as shard:
        for number in range(60):
            await push_delta(
                shard.manager, number, 1, [PatternSpec(n, direction=n) for n in range(4)]
            )
        await share_patterns(shard.manager)
    (snapshot,) = list_snapshots(tmp_path)
    snapshot.rename(tmp_path / "index-100000.snapshot")

    async with run_shard(**settings) as shard:
        assert len(shard.manager.index) == 240
        assert list_snapshots(tmp_path) == []


def list_snapshots(folder: Path) -> list[Path]:
    return list(folder.glob("index-*"))
