from __future__ import annotations

import re
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from constellation.core.errors import ConfigError
from constellation.telemetry.metrics import Kind, Metric, metrics_served, one
from tests.federation.fleet import address_of, drama, federating, push, run_round, shards

if TYPE_CHECKING:
    from prometheus_client import Metric as Family

OPERATIONS = Path(__file__).parent.parent / "docs" / "operations.md"


def scraped(port: int) -> dict[str, Family]:
    """Return what Prometheus would read, by name."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(families: dict[str, Family], name: str, **labels: str) -> float:
    samples = [
        sample.value
        for family in families.values()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    assert len(samples) == 1, f"{name} {labels}: {samples}"
    return float(samples[0])


async def test_a_shard_tells_what_it_counts() -> None:
    async with shards(1) as (shard,):
        await push(shard, [drama(number) for number in range(5)])
        await push(shard, [drama(0)])

        found = scraped(shard.ports.metrics)

    assert value(found, "constellation_sync_requests_total", status="applied") == 5
    assert value(found, "constellation_sync_requests_total", status="duplicate") == 1
    assert value(found, "constellation_patterns_stored_total", shard_id="0") == 5
    assert value(found, "constellation_patterns") == 5
    assert value(found, "constellation_total_devices") == 5
    assert value(found, "constellation_active_devices") == 5
    assert value(found, "constellation_shard_health") == 1
    assert value(found, "constellation_sync_latency_seconds_count") == 6
    assert value(found, "constellation_sync_latency_seconds_bucket", le="+Inf") == 6
    assert 0 < value(found, "constellation_sync_latency_seconds_sum") < 60


async def test_a_federation_tells_its_rounds() -> None:
    async with shards(2) as (north, south):
        await push(north, [drama(number) for number in range(6)])
        await push(south, [drama(number) for number in range(10, 16)])
        async with federating([address_of(north), address_of(south)]) as federation:
            await run_round(federation)
            await run_round(federation)

            found = scraped(federation.ports.metrics)

    assert value(found, "constellation_federation_rounds_total", status="published") == 2
    assert value(found, "constellation_federation_globals_published_total") == 4
    assert value(found, "constellation_federation_coverage_ratio") == 1
    assert value(found, "constellation_federation_clusters") == 1
    assert value(found, "constellation_federation_patterns_aggregated_total") >= 2
    assert value(found, "constellation_federation_aggregates_refused_total") == 0
    assert value(found, "constellation_federation_round_id") == 2
    assert value(found, "constellation_federation_active") == 1
    assert 0 <= value(found, "constellation_federation_round_age_seconds") < 60


async def test_no_metric_names_a_device() -> None:
    async with shards(1) as (shard,):
        await push(shard, [drama(number) for number in range(3)])

        found = scraped(shard.ports.metrics)

    labels = {
        label for each in found.values() for sample in each.samples for label in sample.labels
    }
    assert labels <= {"shard_id", "status", "le"}


def test_an_address_that_is_taken_is_told() -> None:
    metric = Metric("constellation_test", Kind.GAUGE, "A test.", one(lambda: 3))
    with (
        metrics_served("127.0.0.1:0", [metric]) as port,
        pytest.raises(ConfigError, match=f"METRICS_ADDR: cannot listen on 127.0.0.1:{port}"),
        metrics_served(f"127.0.0.1:{port}", [metric]),
    ):
        pass


def test_metrics_are_read_when_they_are_scraped() -> None:
    counted = [1.0]
    metric = Metric("constellation_test", Kind.COUNTER, "A test.", one(lambda: counted[0], a="b"))

    with metrics_served("127.0.0.1:0", [metric]) as port:
        before = value(scraped(port), "constellation_test_total", a="b")
        counted[0] = 5
        after = value(scraped(port), "constellation_test_total", a="b")

    assert (before, after) == (1, 5)


async def test_every_metric_is_documented() -> None:
    async with shards(1) as (shard,), federating([address_of(shard)]) as federation:
        await push(shard, [drama(1)])
        found = scraped(shard.ports.metrics) | scraped(federation.ports.metrics)
    rows = re.findall(r"^\| `(constellation_\w+)` \|", OPERATIONS.read_text(), re.MULTILINE)

    named = {f"{f.name}_total" if f.type == "counter" else f.name for f in found.values()}

    rounds = {"constellation_federation_rounds_total"}  # none was run, so it has no label yet
    assert set(rows) - rounds == named - rounds
