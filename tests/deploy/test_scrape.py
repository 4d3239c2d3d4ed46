"""The metrics of real processes, checked by promtool."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc

from constellation.config import Count
from constellation.v1 import sync_pb2
from tests.conftest import run_shard
from tests.deltas import PatternSpec
from tests.deploy.prometheus import find_promtool
from tests.federation.fleet import (
    get_address,
    make_drama_device,
    push_devices,
    run_federation,
    run_round,
)
from tests.scraping import scrape_text
from tests.sync_client import open_stream

if TYPE_CHECKING:
    from pathlib import Path


async def check_metrics(metrics: str) -> str:
    """Return what `promtool check metrics` reports about the names and types of metrics."""
    process = await asyncio.create_subprocess_exec(
        *(find_promtool(), "check", "metrics"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate(metrics.encode())
    assert process.returncode in {0, 1, 3}  # 3: it reports problems of style
    return out.decode()


async def test_promtool_finds_no_problem_in_the_metrics_of_processes(tmp_path: Path) -> None:
    """Before the scrape, a device increments the counters that a device can increment."""
    async with (
        run_shard(data_dir=tmp_path, max_streams=Count(1)) as shard,
        run_federation([get_address(shard)], min_shards=Count(1)) as federation,
        grpc.aio.insecure_channel(get_address(shard)) as channel,
    ):
        async with open_stream(channel) as device:
            await device.open(1)
            await device.acknowledge(await device.expect("global_update"))
            await device.push(1, [PatternSpec(1), PatternSpec(2, success_rate=0.1)])
            async with open_stream(channel) as turned_away:
                assert await turned_away.wait_for_status() is grpc.StatusCode.RESOURCE_EXHAUSTED
            await device.send(bye=sync_pb2.Bye())
            await device.wait_for_status()
        await push_devices(shard, [make_drama_device(number) for number in range(10, 16)])
        await run_round(federation)

        of_shard = scrape_text(shard.ports.metrics)
        of_federation = scrape_text(federation.ports.metrics)

    assert 'constellation_devices_shed_total{reason="streams",shard_id="0"} 1' in of_shard
    assert 'constellation_federation_rounds_total{status="published"} 1' in of_federation
    assert await check_metrics(of_shard) == ""
    assert await check_metrics(of_federation) == ""


async def test_promtool_reports_a_wrong_name() -> None:
    assert "counter metrics should have" in await check_metrics(
        "# HELP tests_made A test.\n# TYPE tests_made counter\ntests_made 1\n"
    )
