from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from constellation.config import Count
from constellation.errors import ConfigError
from constellation.telemetry.call_metrics import make_certificate_metric
from constellation.telemetry.metrics import (
    LOST_LINES,
    Metric,
    MetricKind,
    make_reader,
    serve_metrics,
)
from constellation.telemetry.shard_metrics import (
    MetricLimits,
    make_shard_health_metric,
    make_shard_histograms,
    make_shard_metrics,
)
from constellation.transport.calls.counters import CallStats
from constellation.transport.calls.interceptor import CallKind
from constellation.transport.sync.limits import SessionLimits
from constellation.transport.sync.streams import OpenStreams
from constellation.v1 import sync_pb2 as sync
from federation import metrics as of_federation
from federation.privacy import gaussian
from federation.privacy.budget import Budget
from federation.privacy.mode import PrivacyMode
from tests.conftest import run_shard
from tests.deltas import PatternSpec
from tests.federation.fleet import (
    get_address,
    make_drama_device,
    push_devices,
    run_federation,
    run_round,
    run_shards,
)
from tests.scraping import scrape_text
from tests.sharing import share_patterns
from tests.sync_client import open_stream

if TYPE_CHECKING:
    from prometheus_client import Metric as Family

    from constellation.server import RunningShard
    from constellation.transport.calls.counters import MethodStats

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


def scrape_metrics(port: int) -> dict[str, Family]:
    """Return what Prometheus would read, by name."""
    families = text_string_to_metric_families(scrape_text(port))
    return {family.name: family for family in families}


def get_value(families: dict[str, Family], name: str, **labels: str) -> float:
    samples = [
        sample.value
        for family in families.values()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    assert len(samples) == 1, f"{name} {labels}: {samples}"
    return float(samples[0])


async def test_a_shard_tells_what_it_counts() -> None:
    async with run_shards(1) as (shard,):
        await push_devices(shard, [make_drama_device(number) for number in range(5)])
        await push_devices(shard, [make_drama_device(0)])

        found = scrape_metrics(shard.ports.metrics)

    assert get_value(found, "constellation_deltas_total", result="applied") == 5
    assert get_value(found, "constellation_deltas_total", result="duplicate") == 1
    assert get_value(found, "constellation_patterns_stored_total", shard_id="0") == 5
    assert get_value(found, "constellation_patterns") == 5
    assert get_value(found, "constellation_total_devices") == 5
    assert get_value(found, "constellation_active_devices") == 5
    assert get_value(found, "constellation_contributors") == 5
    assert get_value(found, "constellation_liked_contents") == 5
    assert get_value(found, "constellation_related_rows") == 0
    assert get_value(found, "constellation_popular_lists") == 0
    assert get_value(found, "constellation_shard_health") == 1
    assert get_value(found, "constellation_sync_latency_seconds_count") == 5
    assert get_value(found, "constellation_sync_latency_seconds_bucket", le="+Inf") == 5
    assert 0 < get_value(found, "constellation_sync_latency_seconds_sum") < 60


async def test_a_federation_tells_its_rounds() -> None:
    async with run_shards(2) as (north, south):
        await push_devices(north, [make_drama_device(number) for number in range(6)])
        await push_devices(south, [make_drama_device(number) for number in range(10, 16)])
        async with run_federation([get_address(north), get_address(south)]) as federation:
            await run_round(federation)
            await run_round(federation)

            found = scrape_metrics(federation.ports.metrics)

    assert get_value(found, "constellation_federation_rounds_total", status="published") == 2
    assert get_value(found, "constellation_federation_globals_published_total") == 4
    assert get_value(found, "constellation_federation_coverage_ratio") == 1
    assert get_value(found, "constellation_federation_clusters") == 1
    assert get_value(found, "constellation_federation_related_rows") == 0
    assert get_value(found, "constellation_federation_related_rows_changed_total") == 0
    assert get_value(found, "constellation_federation_contributors") == 12
    assert 0 < get_value(found, "constellation_federation_solve_seconds") < 60
    assert get_value(found, "constellation_federation_patterns_aggregated_total") >= 2
    assert get_value(found, "constellation_federation_aggregates_rejected_total") == 0
    assert get_value(found, "constellation_federation_round_id") == 2
    assert get_value(found, "constellation_federation_active") == 1
    assert 0 <= get_value(found, "constellation_federation_round_age_seconds") < 60


async def test_a_federation_tells_of_rounds_that_never_were() -> None:
    async with run_federation(["127.0.0.1:1"]) as federation:
        found = scrape_metrics(federation.ports.metrics)

    for status in ("published", "no_quorum"):
        assert get_value(found, "constellation_federation_rounds_total", status=status) == 0


async def test_no_metric_names_a_device() -> None:
    async with run_shards(1) as (shard,):
        await push_devices(shard, [make_drama_device(number) for number in range(3)])

        found = scrape_metrics(shard.ports.metrics)

    labels = {
        label for each in found.values() for sample in each.samples for label in sample.labels
    }
    of_calls = {"grpc_type", "grpc_service", "grpc_method", "grpc_code"}
    assert labels <= {"shard_id", "status", "result", "reason", "le", *of_calls}


def test_an_address_in_use_is_an_error_that_names_it() -> None:
    with (
        serve_metrics("127.0.0.1:0") as metrics,
        pytest.raises(
            ConfigError, match=f"METRICS_ADDR: cannot listen on 127.0.0.1:{metrics.port}"
        ),
        serve_metrics(f"127.0.0.1:{metrics.port}"),
    ):
        pass


def test_a_wrong_filter_of_exemplars_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_METRICS_EXEMPLAR_FILTER", "sometimes")

    with serve_metrics("127.0.0.1:0") as metrics:
        assert metrics.port


def test_metrics_are_read_when_they_are_scraped() -> None:
    counted = [1.0]
    metric = Metric(
        "constellation_test", MetricKind.COUNTER, "A test.", make_reader(lambda: counted[0], a="b")
    )

    with serve_metrics("127.0.0.1:0") as metrics:
        metrics.add([metric])
        before = get_value(scrape_metrics(metrics.port), "constellation_test_total", a="b")
        counted[0] = 5
        after = get_value(scrape_metrics(metrics.port), "constellation_test_total", a="b")

    assert (before, after) == (1, 5)


async def test_every_metric_is_documented_and_no_other() -> None:
    """A counter by cause has no value before its first cause: so the instruments are compared."""
    async with run_shards(1) as (shard,), run_federation([get_address(shard)]) as federation:
        streams = OpenStreams(shard.manager.stats, SessionLimits())
        compared = MetricLimits(1, None)
        counted = [
            LOST_LINES,
            make_certificate_metric(lambda: None),
            make_shard_health_metric(0, lambda: True),
            *make_shard_metrics(shard.manager, streams, CallStats(), compared),
            of_federation.make_health_metric(lambda: True),
            *of_federation.make_federation_metrics(federation.rounds, federation.publisher, 1),
            *of_federation.make_privacy_metrics(PrivacyMode(Budget(1, 1e-10, 1), gaussian)),
        ]
        histograms = [
            *make_shard_histograms(shard.manager),
            *of_federation.make_federation_histograms(federation.rounds),
        ]
    rows = re.findall(r"^\| `(constellation_\w+)` \|", OPERATIONS.read_text(), re.MULTILINE)

    named = [
        f"{each.name}_total" if each.kind is MetricKind.COUNTER else each.name for each in counted
    ]
    named += [each.name for each in histograms]

    assert sorted(rows) == sorted(named)


async def test_what_happens_on_streams_is_counted(tmp_path: Path) -> None:
    async with (
        run_shard(data_dir=tmp_path, max_streams=Count(1), k_anonymity=Count(1)) as shard,
        grpc.aio.insecure_channel(get_address(shard)) as channel,
    ):
        async with open_stream(channel) as device:
            await device.open(1)
            await device.acknowledge(await device.expect("global_update"))
            await device.push(1, [PatternSpec(1), PatternSpec(2, success_rate=0.1)])
            async with open_stream(channel) as another:
                assert await another.wait_for_status() is grpc.StatusCode.RESOURCE_EXHAUSTED
            await device.send(bye=sync.Bye())
            assert await device.wait_for_status() is grpc.StatusCode.OK
        before = scrape_metrics(shard.ports.metrics)
        await share_patterns(shard.manager)
        found = scrape_metrics(shard.ports.metrics)

    service = {"grpc_service": "constellation.v1.SyncService", "grpc_method": "Sync"}
    assert get_value(before, "constellation_shared_patterns") == 0
    assert get_value(found, "constellation_hellos_total", result="welcomed") == 1
    assert get_value(found, "constellation_devices_shed_total", reason="streams") == 1
    assert get_value(found, "constellation_patterns_rejected_total", reason="below_quality") == 1
    assert get_value(found, "constellation_global_acks_total", result="applied") == 1
    assert get_value(found, "constellation_sync_requests_total", status="OK") == 1
    assert get_value(found, "constellation_sync_requests_total", status="RESOURCE_EXHAUSTED") == 1
    assert get_value(found, "grpc_server_started_total", grpc_type="bidi_stream", **service) == 2
    assert get_value(found, "grpc_server_handled_total", grpc_code="OK", **service) == 1
    assert get_value(found, "grpc_server_msg_received_total", **service) == 4
    assert get_value(found, "grpc_server_msg_sent_total", **service) == 4
    for name in ("commit_seconds", "fsync_seconds", "commit_deltas", "delta_ack_seconds"):
        assert get_value(before, f"constellation_{name}_count") == 1, name
    assert get_value(found, "constellation_shared_patterns") == 1
    assert get_value(found, "constellation_disk_free_bytes") > 0
    assert get_value(found, "process_resident_memory_bytes") > 0


class ReentrantStatus(str):
    """A status during whose look-up another call ends, as may happen between two threads."""

    __slots__ = ("calls",)
    calls: MethodStats

    def __hash__(self) -> int:
        self.calls.handled["OK"] += 1
        return super().__hash__()


async def test_a_call_may_end_while_a_scrape_counts(shard: RunningShard) -> None:
    calls = CallStats()
    exchange = calls.get_or_add("/constellation.v1.SyncService/Exchange", CallKind.UNARY)
    status = ReentrantStatus("ABORTED")
    status.calls = exchange
    exchange.handled[status] += 1
    del exchange.handled["OK"]
    metrics = make_shard_metrics(
        shard.manager,
        OpenStreams(shard.manager.stats, SessionLimits()),
        calls,
        MetricLimits(1, None),
    )
    (read,) = [each.read for each in metrics if each.name == "constellation_sync_requests"]

    counts = {labels["status"]: count for count, labels in read()}

    assert exchange.handled["OK"] > 0
    assert counts["ABORTED"] == 1


async def test_unary_and_server_streaming_calls_are_counted_and_timed() -> None:
    async with (
        run_shards(1) as (shard,),
        run_federation([get_address(shard)], min_shards=Count(1)) as above,
    ):
        await push_devices(shard, [make_drama_device(number) for number in range(5)])
        await run_round(above)
        found = scrape_metrics(shard.ports.metrics)
        of_above = scrape_metrics(above.ports.metrics)

    exchange, pull = {"grpc_method": "Exchange"}, {"grpc_method": "PullAggregate"}
    assert get_value(found, "grpc_server_handling_seconds_count", **exchange) == 5
    assert get_value(found, "grpc_server_msg_sent_total", **exchange) == 5
    assert get_value(found, "grpc_server_handled_total", grpc_code="OK", **pull) == 1
    assert get_value(found, "grpc_server_msg_sent_total", **pull) >= 1
    published = {"grpc_type": "client_stream", "grpc_method": "PublishGlobal"}
    assert get_value(found, "grpc_server_msg_received_total", **published) >= 2
    run = {"grpc_method": "RunRound", "grpc_code": "OK"}
    assert get_value(of_above, "grpc_server_handled_total", **run) == 1
    assert get_value(of_above, "constellation_federation_duration_seconds_count") == 1


async def test_a_shard_that_is_not_ready_can_be_scraped(shard: RunningShard) -> None:
    before = get_value(scrape_metrics(shard.ports.metrics), "constellation_shard_health")
    shard.health.mark_not_ready("draining")

    after = get_value(scrape_metrics(shard.ports.metrics), "constellation_shard_health")

    assert (before, after) == (1, 0)
