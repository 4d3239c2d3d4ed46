from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from constellation.config import Address
from constellation.core.store import Content
from constellation.encoding import quantise
from constellation_settop import (
    Device,
    DeviceSettings,
    LocalChanges,
    Outbox,
    Sync,
    SyncSettings,
    UnreachableError,
    View,
    replay,
    sync_once,
)
from testing.ports import find_free_address
from tests.clients.samples import make_catalogue, make_learned_changes, make_pattern
from tests.conftest import run_shard
from tests.sharing import share_patterns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from constellation.server import RunningShard

QUICK = SyncSettings(backoff_base_seconds=0.02, backoff_cap_seconds=0.1)
SETTINGS = DeviceSettings(sync=QUICK, keep_journal=True)


@asynccontextmanager
async def run_shard_process(
    address: str, data_dir: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `constellation serve`, and kill it when the block ends."""
    environment = {**os.environ, "GRPC_ADDR": address, "DATA_DIR": str(data_dir)}
    environment |= {"INSECURE": "1", "MIN_DEVICE_AGE_DAYS": "0"}
    environment |= {"REST_ADDR": "127.0.0.1:0", "METRICS_ADDR": "127.0.0.1:0"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "constellation", "serve",
        env=environment, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()


async def test_what_is_pushed_is_acked_and_stored(shard: RunningShard) -> None:
    address = f"127.0.0.1:{shard.port}"
    with Outbox.open(":memory:", keep_journal=True) as outbox:
        async with Sync.open(address, outbox, QUICK) as sync:
            outbox.append(make_learned_changes(1, 2, sample_count=5))
            outbox.append(make_learned_changes(1, success_rate=0.5))
            outbox.append(make_learned_changes(3))
            await sync.flush(10)

        expected = replay(outbox.read_journal())

    assert set(expected) == {make_pattern(2).pattern_id, make_pattern(3).pattern_id}
    assert shard.manager.table.totals.patterns == 2


async def test_one_session_pushes_and_pulls(shard: RunningShard) -> None:
    address = f"127.0.0.1:{shard.port}"
    with Outbox.open(":memory:") as outbox:
        outbox.append(make_learned_changes(1))

        await sync_once(address, outbox, deadline_seconds=10)

        assert not outbox.pending_deltas
    assert shard.manager.table.totals.patterns == 1


async def test_deltas_flow_on_after_a_shard_restarts_on_its_store(tmp_path: Path) -> None:
    address = find_free_address()
    with Outbox.open(":memory:", keep_journal=True) as outbox:
        for number in range(3):
            outbox.append(make_learned_changes(number))
            async with (
                run_shard(grpc_addr=Address(address), data_dir=tmp_path) as shard,
                Sync.open(address, outbox, QUICK) as sync,
            ):
                await sync.flush(10)
                assert shard.manager.table.totals.patterns == number + 1

        assert not any(entry.is_snapshot for entry in outbox.read_journal())


async def test_a_shard_that_lost_its_store_gets_everything_again() -> None:
    address = find_free_address()
    with Outbox.open(":memory:") as outbox:
        outbox.append(make_learned_changes(1, 2))
        async with run_shard(grpc_addr=Address(address)), Sync.open(address, outbox, QUICK) as sync:
            await sync.flush(10)
        outbox.append(make_learned_changes(3))

        async with (
            run_shard(grpc_addr=Address(address)) as emptied,
            Sync.open(address, outbox, QUICK) as sync,
        ):
            await sync.flush(10)
            assert emptied.manager.table.totals.patterns == 3


async def test_no_ack_was_a_lie_when_a_shard_is_killed(tmp_path: Path) -> None:
    address = find_free_address()
    with Outbox.open(tmp_path / "device", keep_journal=True) as outbox:
        async with Sync.open(address, outbox, QUICK) as sync:
            for round_ in range(2):
                async with run_shard_process(address, tmp_path / "shard"):
                    await _push_round(outbox, sync, round_)
                    for number in range(20):
                        outbox.append(
                            make_learned_changes(number, sample_count=100 * round_ + number + 1)
                        )
                        sync.notify()
                        await asyncio.sleep(0)  # let some of them go out before the kill
        expected = replay(outbox.read_journal())
        waiting = {seq.seq for seq in outbox.pending_deltas}

        async with run_shard(data_dir=tmp_path / "shard") as shard:
            stored = shard.manager.table.totals.patterns
            async with Sync.open(f"127.0.0.1:{shard.port}", outbox, QUICK) as sync:
                await sync.flush(10)
            journal = list(outbox.read_journal())
            assert shard.manager.table.totals.patterns == 20

    assert stored >= len(expected)
    assert len({entry.seq for entry in journal}) == len(journal)
    assert waiting <= {entry.seq for entry in journal}
    assert not any(entry.is_snapshot for entry in journal)


async def _push_round(outbox: Outbox, sync: Sync, round_: int) -> None:
    outbox.append(make_learned_changes(0, sample_count=100 * round_ + 1))
    await sync.flush(20)


async def test_devices_learn_from_each_other_through_the_shard(
    shard: RunningShard, tmp_path: Path
) -> None:
    address = f"127.0.0.1:{shard.port}"
    contents = make_catalogue()
    await shard.manager.committer.add_contents(
        [
            Content(name, name, 1, (), 2000, quantise(contents.embedding(row)[None])[0].tobytes())
            for row, name in enumerate(contents.content_ids)
        ]
    )
    async with AsyncExitStack() as stack:
        devices = [
            await stack.enter_async_context(
                Device.open(
                    address, data_dir=tmp_path / str(number), catalogue=contents, settings=SETTINGS
                )
            )
            for number in range(4)
        ]
        for device in devices[:3]:
            for content_id in ("0-1", "0-2", "0-3", "0-8"):
                device.observe(View(content_id, 1.0, 0.9))
            await device.flush(10)
        await share_patterns(shard.manager)
        newcomer = devices[3]
        newcomer.observe(View("0-1", 1.0, 0.9))
        await newcomer.flush(10)
        while not newcomer.outbox.global_state.similar:
            applied = newcomer.sync.updates_applied
            await newcomer.sync.wait_for_update(10, after=applied)

        choices = newcomer.recommend(limit=3)

    assert {choice.content_id for choice in choices} == {"0-2", "0-3", "0-8"}
    assert choices[0].reason == "Watched by households with your taste"
    assert newcomer.outbox.global_state.similar  # kept after the connection is closed


async def test_without_a_shard_waiting_ends_with_its_reason() -> None:
    with Outbox.open(":memory:") as outbox:
        outbox.append(LocalChanges())
        outbox.append(make_learned_changes(1))
        async with Sync.open(find_free_address(), outbox, QUICK) as sync:
            with pytest.raises(UnreachableError, match="no connection"):
                await sync.flush(0.2)


async def test_what_is_forgotten_or_not_shared_is_gone_from_the_store(
    shard: RunningShard, tmp_path: Path
) -> None:
    address = f"127.0.0.1:{shard.port}"
    table = shard.manager.table
    async with Device.open(
        address, data_dir=tmp_path, catalogue=make_catalogue(), settings=SETTINGS
    ) as device:
        for content_id in ("0-0", "0-1", "1-0"):
            device.observe(View(content_id, 1.0))
        await device.flush(10)
        assert table.totals.patterns == 2

        device.forget("1-0")
        await device.flush(10)
        assert table.totals.patterns == 1

        device.sharing = False
        await device.flush(10)
        assert table.totals.patterns == 0

        device.sharing = True
        await device.flush(10)
        assert table.totals.patterns == 1

        device.forget_everything()
        await device.flush(10)
        assert table.totals.patterns == 0
        device.observe(View("2-0", 1.0))
        await device.flush(10)
        assert table.totals.patterns == 1


async def test_ten_thousand_views_at_once_from_any_time_stay_within_every_bound(
    shard: RunningShard, tmp_path: Path
) -> None:
    catalogue = make_catalogue(themes=4, contents=40)
    async with Device.open(
        f"127.0.0.1:{shard.port}", data_dir=tmp_path, catalogue=catalogue, settings=SETTINGS
    ) as device:
        for number in range(10_000):
            content_id = catalogue.content_ids[number % len(catalogue)]
            device.observe(View(content_id, 0.95, watched_at=(0, 1e9, 2**32 - 2)[number % 3]))
        await device.flush(20)
        status = device.status()
        device.observe(View("0-0", 0.95))
        await device.flush(20)

    assert (status.liked, status.waiting_deltas, status.rejections) == (160, 0, {})
    assert status.patterns <= 64
    assert shard.manager.table.totals.patterns == status.patterns
    assert (tmp_path / "device.sqlite").stat().st_size < 2_000_000
