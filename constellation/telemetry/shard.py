"""The metrics of a shard."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from constellation.telemetry.metrics import Buckets, Kind, Metric, one

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from constellation.core.shard import ShardManager
    from constellation.telemetry.metrics import Values


def shard_metrics(
    shard: ShardManager, device_ids: Callable[[], Sequence[bytes]], is_ready: Callable[[], bool]
) -> list[Metric]:
    """Return what a shard tells of itself. `device_ids` are those with an open stream."""
    labels = _labels(shard)
    totals, stats = shard.table, shard.stats

    def gauge(name: str, text: str, read: Callable[[], float]) -> Metric:
        return Metric(f"constellation_{name}", Kind.GAUGE, text, one(read, **labels))

    def counter(name: str, text: str, read: Callable[[], float]) -> Metric:
        return Metric(f"constellation_{name}", Kind.COUNTER, text, one(read, **labels))

    return [
        Metric(
            "constellation_sync_requests",
            Kind.COUNTER,
            "Deltas, by what became of them.",
            partial(_deltas, shard, labels),
        ),
        counter("patterns_stored", "Patterns accepted.", lambda: stats.patterns_accepted),
        counter("patterns_rejected", "Patterns rejected.", lambda: stats.patterns_rejected),
        counter("signals_dropped", "Watch signals dropped.", lambda: stats.signals_dropped),
        counter("commits", "Store transactions.", lambda: stats.commits),
        counter("commits_unknown", "Commits with a lost answer.", lambda: stats.unknown_commits),
        gauge("patterns", "Patterns stored now.", lambda: totals.totals.patterns),
        gauge("total_devices", "Devices with a cursor.", lambda: totals.totals.devices),
        gauge(
            "active_devices",
            "Devices with an open stream, or synced within ACTIVE_WINDOW_SECONDS.",
            lambda: shard.active_devices(device_ids(), time.time()),
        ),
        gauge("streams_active", "Streams that said Hello.", lambda: len(device_ids())),
        gauge("shard_health", "1 when the shard takes traffic, else 0.", is_ready),
        gauge("index_patterns", "Patterns in the index.", lambda: len(shard.index)),
        gauge(
            "index_behind_commits",
            "Commits that the index has not taken in yet.",
            lambda: totals.totals.lsn - shard.feeder.lsn,
        ),
        gauge("epoch", "Fencing token of the writer.", lambda: shard.epoch),
        gauge("lsn", "Log sequence number of the last commit.", lambda: totals.totals.lsn),
        gauge("recovery_seconds", "How long the start took.", lambda: stats.recovery_seconds),
        gauge("round_id", "The federation's round served.", lambda: shard.globals.round.round_id),
        gauge(
            "codebook_version",
            "The codebook that the aggregates are of.",
            lambda: shard.aggregates.codebook_version,
        ),
    ]


def shard_histograms(shard: ShardManager) -> list[Buckets]:
    """Return how long deltas waited for their commit."""
    return [
        Buckets(
            "constellation_sync_latency_seconds",
            "From a delta's arrival until it is durable.",
            partial(_latencies, shard),
            _labels(shard),
        )
    ]


def _labels(shard: ShardManager) -> Mapping[str, str]:
    return {"shard_id": str(shard.identity.shard_id)}


def _deltas(shard: ShardManager, labels: Mapping[str, str]) -> Values:
    stats = shard.stats
    return [
        (stats.deltas_applied, {**labels, "status": "applied"}),
        (stats.deltas_duplicate, {**labels, "status": "duplicate"}),
        (stats.deltas_failed, {**labels, "status": "failed"}),
    ]


def _latencies(shard: ShardManager) -> tuple[list[tuple[str, float]], float]:
    bounds, counts, total = shard.stats.since_start()
    cumulative = np.cumsum(counts).tolist()
    named = [f"{bound:g}" for bound in bounds] + ["+Inf"]
    return list(zip(named, cumulative, strict=True)), total
