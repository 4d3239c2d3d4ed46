"""Traces across processes: from device to shard and store, and from federation to shard."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from constellation.v1 import federation_pb2, federation_pb2_grpc, shard_pb2, shard_pb2_grpc
from constellation_settop import SyncSettings
from testing.ports import find_free_address
from tests.scenarios.otlp import run_collector
from tests.scenarios.processes import (
    COMMAND_DIR,
    CommandResult,
    ShardProcess,
    make_environment,
    run_shard_process,
    wait_for_event,
)
from tests.scenarios.sdk_devices import flush_all, open_devices

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

DEVICE_TRACE = "0af7651916cd43dd8448eb211c80319c"
DEVICE_SPAN = "b7ad6b7169203331"
SAMPLED = SyncSettings(traceparent=lambda: f"00-{DEVICE_TRACE}-{DEVICE_SPAN}-01")
UNSAMPLED = SyncSettings(traceparent=lambda: f"00-{DEVICE_TRACE}-{DEVICE_SPAN}-00")
EXPORTER = "opentelemetry.exporter.otlp.proto.grpc.exporter"


async def push_deltas(shard: ShardProcess, settings: SyncSettings, deltas: int = 3) -> None:
    """Let one device push deltas, each one durable before the next."""
    async with open_devices([shard.address], 1, settings) as fleet:
        for _ in range(deltas):
            fleet[0].push_change()
            await flush_all(fleet)


async def stop_shard(shard: ShardProcess) -> CommandResult:
    """Stop a process cleanly, so that it has sent its spans, and return its result."""
    shard.process.terminate()
    finished = await shard.wait_for_exit()
    assert finished.status == 0, finished.err
    return finished


@asynccontextmanager
async def run_federation_process(**settings: object) -> AsyncIterator[ShardProcess]:
    process = await asyncio.create_subprocess_exec(
        *(COMMAND_DIR / "federation", "run"),
        env=make_environment(grpc_addr="127.0.0.1:0", federation_interval_secs=0, **settings),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        started = await wait_for_event(process, "federation_started")
        await wait_for_event(process, "federation_active")
        yield ShardProcess(process, int(started["port"]))
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def run_round(federation: ShardProcess) -> federation_pb2.Round:
    async with grpc.aio.insecure_channel(federation.address) as channel:
        stub: Any = federation_pb2_grpc.FederationServiceStub(channel)
        answer: federation_pb2.RunRoundResponse = await stub.RunRound(
            federation_pb2.RunRoundRequest()
        )
        return answer.round


async def test_a_devices_trace_links_to_the_commit_that_made_its_delta_durable(
    tmp_path: Path,
) -> None:
    async with (
        run_collector() as collector,
        run_shard_process(tmp_path, shard_id=3, **collector.make_settings()) as shard,
    ):
        await push_deltas(shard, SAMPLED)
        await stop_shard(shard)

    deltas, commits = collector.find_spans("delta"), collector.find_spans("commit")
    stored = collector.find_spans("store.commit")
    assert [span.attributes["constellation.seq"] for span in deltas] == ["1", "2", "3"]
    assert {(span.trace_id, span.parent_id) for span in deltas} == {(DEVICE_TRACE, DEVICE_SPAN)}
    assert {span.attributes["constellation.verdict"] for span in deltas} == {"applied"}
    assert [span.links for span in deltas] == [[(each.trace_id, each.span_id)] for each in commits]
    assert [span.links for span in commits] == [[(DEVICE_TRACE, DEVICE_SPAN)]] * 3
    assert [(span.trace_id, span.parent_id) for span in stored] == [
        (each.trace_id, each.span_id) for each in commits
    ]
    assert len({span.trace_id for span in commits}) == 3
    (whose,) = {(span.service, span.resource["constellation.shard_id"]) for span in collector.spans}
    assert whose == ("constellation-shard", "3")


async def test_deltas_of_a_device_that_is_not_sampled_have_no_spans(tmp_path: Path) -> None:
    async with (
        run_collector() as collector,
        run_shard_process(tmp_path, **collector.make_settings()) as shard,
    ):
        await push_deltas(shard, UNSAMPLED)
        await stop_shard(shard)

    assert collector.find_spans("delta") == []
    assert [span.links for span in collector.find_spans("commit")] == [[]] * 3


async def test_the_environment_sets_the_sampling_ratio(tmp_path: Path) -> None:
    sampled = {"otel_traces_sampler": "parentbased_traceidratio", "otel_traces_sampler_arg": "0"}
    async with (
        run_collector() as collector,
        run_shard_process(tmp_path, **collector.make_settings(**sampled)) as shard,
    ):
        await push_deltas(shard, SAMPLED, deltas=1)
        await stop_shard(shard)

    assert collector.find_spans("commit") == []
    assert [span.trace_id for span in collector.find_spans("delta")] == [DEVICE_TRACE]


async def test_a_rounds_trace_contains_its_calls_to_every_shard(tmp_path: Path) -> None:
    async with (
        run_collector() as collector,
        run_shard_process(tmp_path / "0", shard_id=0, **collector.make_settings()) as north,
        run_shard_process(tmp_path / "1", shard_id=1, **collector.make_settings()) as south,
        run_federation_process(
            data_dir=tmp_path / "federation",
            shard_addrs=f"{north.address},{south.address}",
            min_shards=2,
            **collector.make_settings(),
        ) as federation,
    ):
        finished_round = await run_round(federation)
        log = (await stop_shard(federation)).err
        await stop_shard(north)
        await stop_shard(south)

    (round_,) = collector.find_spans("round")
    (asked,) = collector.find_spans("constellation.v1.FederationService/RunRound")
    pulls = collector.find_spans("constellation.v1.AggregateService/PullAggregate")
    published = collector.find_spans("constellation.v1.AggregateService/PublishGlobal")
    assert finished_round.state == federation_pb2.ROUND_STATE_PUBLISHED
    assert round_.parent_id == asked.span_id
    for calls in (pulls, published):
        assert {(span.trace_id, span.parent_id) for span in calls} == {
            (round_.trace_id, round_.span_id)
        }
        assert {span.resource["constellation.shard_id"] for span in calls} == {"0", "1"}
        assert {span.service for span in calls} == {"constellation-shard"}
    lines = [json.loads(line) for line in log.splitlines()]
    (of_round,) = [line for line in lines if line["event"] == "round_published"]
    assert of_round["trace_id"] == round_.trace_id


async def test_at_most_32_deltas_of_a_commit_are_traced(tmp_path: Path) -> None:
    async with (
        run_collector() as collector,
        run_shard_process(tmp_path, **collector.make_settings()) as shard,
    ):
        async with open_devices([shard.address], 100, SAMPLED) as fleet:
            for _ in range(3):
                for device in fleet:
                    device.push_change()
                await flush_all(fleet)
        await stop_shard(shard)

    spans = Counter(link for span in collector.find_spans("delta") for link in span.links)
    commits = {
        (each.trace_id, each.span_id): int(each.attributes["deltas"])
        for each in collector.find_spans("commit")
    }
    assert sum(commits.values()) == 300
    assert spans == {commit: min(deltas, 32) for commit, deltas in commits.items()}


async def test_the_span_of_a_failed_call_has_its_status_but_no_request_data(
    tmp_path: Path,
) -> None:
    unknown = bytes(range(16))
    async with (
        run_collector() as collector,
        run_shard_process(tmp_path, **collector.make_settings()) as shard,
    ):
        async with grpc.aio.insecure_channel(shard.address) as channel:
            stub: Any = shard_pb2_grpc.ShardServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.GetDevice(shard_pb2.GetDeviceRequest(device_id=unknown))
            await stub.GetInfo(shard_pb2.GetInfoRequest())
        await stop_shard(shard)

    (failed,) = collector.find_spans("constellation.v1.ShardService/GetDevice")
    (answered,) = collector.find_spans("constellation.v1.ShardService/GetInfo")
    assert failed.attributes["rpc.grpc.status_code"] == str(grpc.StatusCode.NOT_FOUND.value[0])
    assert answered.attributes["rpc.grpc.status_code"] == "0"
    assert unknown.hex() not in str(failed.message)
    assert list(failed.message.events) == []


async def test_an_invalid_trace_context_is_ignored_without_a_log_line(tmp_path: Path) -> None:
    odd = [
        (("traceparent", "00-" + "a" * 3000),),
        (("traceparent", "00-zz-yy-01"), ("tracestate", "=" * 3000)),
        (("traceparent", f"00-{DEVICE_TRACE}-{DEVICE_SPAN}-01"), ("tracestate", "=,=" * 500)),
    ]
    async with (
        run_collector() as collector,
        run_shard_process(tmp_path, **collector.make_settings()) as shard,
    ):
        async with grpc.aio.insecure_channel(shard.address) as channel:
            stub: Any = shard_pb2_grpc.ShardServiceStub(channel)
            for metadata in odd:
                await stub.GetInfo(shard_pb2.GetInfoRequest(), metadata=metadata)
        log = (await stop_shard(shard)).err

    traces = [
        span.trace_id for span in collector.find_spans("constellation.v1.ShardService/GetInfo")
    ]
    assert [trace == DEVICE_TRACE for trace in traces] == [False, False, True]
    assert {json.loads(line)["level"] for line in log.splitlines()} == {"info"}


async def test_an_unreachable_collector_does_not_delay_a_shard(tmp_path: Path) -> None:
    unreachable = {"otel_exporter_otlp_endpoint": f"http://{find_free_address()}"}
    async with run_shard_process(tmp_path, **unreachable) as shard:
        await push_deltas(shard, SAMPLED)
        began = asyncio.get_running_loop().time()
        finished = await stop_shard(shard)
        seconds = asyncio.get_running_loop().time() - began

    assert seconds < 5  # including 2 for the last spans
    lines = [json.loads(line) for line in finished.err.splitlines()]
    assert {line["logger"] for line in lines if "logger" in line} == {EXPORTER}
