"""What the variables of OpenTelemetry may hold: a wrong one ends a process before it serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest

from constellation.errors import ConfigError
from constellation.telemetry.traces import export_traces
from constellation.v1.sync_pb2_grpc import SyncServiceStub
from tests.scenarios.otlp import run_collector
from tests.scenarios.processes import run_command, run_shard_process
from tests.sync_client import make_pull

if TYPE_CHECKING:
    from pathlib import Path

ENDPOINT = {"otel_exporter_otlp_endpoint": "http://127.0.0.1:1"}


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "abc"}, "TIMEOUT: must be more than 0 seconds, got 'abc'"),
        ({"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "0"}, "TRACES_TIMEOUT: must be more than 0"),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "nan"}, "TIMEOUT: must be more than 0 seconds, got 'nan'"),
        ({"OTEL_EXPORTER_OTLP_COMPRESSION": "zstd"}, "COMPRESSION: must be gzip, or unset, got 'z"),
        ({"OTEL_EXPORTER_OTLP_TRACES_COMPRESSION": "x"}, "TRACES_COMPRESSION: must be gzip"),
        (
            {"OTEL_BSP_MAX_QUEUE_SIZE": "10"},
            "must be at least OTEL_BSP_MAX_EXPORT_BATCH_SIZE, which is 512, got 10",
        ),
        ({"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "2049"}, "BATCH_SIZE, which is 2049, got 2048"),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "abc"}, "QUEUE_SIZE: must be a whole number from 1"),
        ({"OTEL_BSP_SCHEDULE_DELAY": "0"}, "SCHEDULE_DELAY: must be a whole number from 1"),
        ({"OTEL_ATTRIBUTE_COUNT_LIMIT": "-1"}, "OTEL_ATTRIBUTE_COUNT_LIMIT: must be a whole num"),
        ({"OTEL_SPAN_EVENT_COUNT_LIMIT": "many"}, "SPAN_EVENT_COUNT_LIMIT: must be a whole number"),
        ({"OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": "1.5"}, "VALUE_LENGTH_LIMIT: must be a whole"),
        ({"OTEL_TRACES_SAMPLER": "sometimes"}, "SAMPLER: must be one of always_on, always_off, p"),
        (
            {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "10%"},
            "OTEL_TRACES_SAMPLER_ARG: must be a number from 0 to 1, got '10%'",
        ),
        (
            {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"},
            "OTEL_TRACES_SAMPLER_ARG: must be a number from 0 to 1, got '2'",
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://[x"}, "OTEL_…: Invalid IPv6 URL"),
    ],
)
async def test_an_invalid_variable_is_an_error_that_names_it(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], problem: str
) -> None:
    for name, value in {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", **settings}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ConfigError) as raised:
        async with export_traces("test", {}):
            pass

    assert problem in str(raised.value)


async def test_all_invalid_variables_are_in_one_error() -> None:
    wrong = {"otel_exporter_otlp_timeout": "abc", "otel_exporter_otlp_compression": "zstd"}

    ended = await run_command("serve", **ENDPOINT, **wrong)

    assert ended.status == 2
    assert "Traceback" not in ended.err
    assert "OTEL_EXPORTER_OTLP_TIMEOUT: must be more than 0 seconds, got 'abc'; " in ended.err
    assert "OTEL_EXPORTER_OTLP_COMPRESSION: must be gzip, or unset, got 'zstd'" in ended.err


async def test_a_limit_that_the_library_refuses_while_it_is_imported_is_named() -> None:
    """Only a process of its own imports it anew."""
    wrong = {"otel_span_attribute_count_limit": "x"}

    refused = await run_command("serve", grpc_addr="127.0.0.1:0", **ENDPOINT, **wrong)
    helped = await run_command("--help", **wrong)

    assert refused.status == 2
    assert refused.err == (
        "constellation: OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT: must be a whole number from 0 to "
        "999999999, or unset, got 'x'\n"
    )
    assert (helped.status, helped.err) == (0, "")


async def test_without_an_endpoint_nothing_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "abc")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", raising=False)

    async with export_traces("test", {}):
        pass


async def test_an_empty_variable_is_an_unset_one(tmp_path: Path) -> None:
    names = (
        "otel_service_name",
        "otel_exporter_otlp_timeout",
        "otel_exporter_otlp_compression",
        "otel_bsp_max_queue_size",
    )
    async with run_collector() as collector:
        empty = collector.make_settings(**dict.fromkeys(names, ""))
        async with run_shard_process(tmp_path, **empty) as shard:
            async with grpc.aio.insecure_channel(shard.address) as channel:
                await SyncServiceStub(channel).Exchange(make_pull(1))
            shard.process.terminate()
            ended = await shard.wait_for_exit()

    assert ended.status == 0, ended.err
    assert {each.service for each in collector.spans} == {"constellation-shard"}
