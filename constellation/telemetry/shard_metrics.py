"""The metrics of a shard."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import grpc

from constellation.telemetry.metrics import (
    HistogramMetric,
    HistogramSample,
    Metric,
    MetricKind,
    make_histogram,
    make_reader,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from constellation.core.shard import ShardManager
    from constellation.histogram import Histogram
    from constellation.telemetry.call_metrics import CallCounts
    from constellation.telemetry.metrics import Values

E = TypeVar("E", bound=Enum)

_STATUSES: Final = tuple(code.name for code in grpc.StatusCode)


class StreamSource(Protocol):
    """What is measured of the open streams."""

    def device_ids(self) -> Sequence[bytes]:
        """Return the devices that said Hello."""
        ...

    def waiting_bytes(self) -> int:
        """Return the bytes that wait to be written."""
        ...


@dataclass(frozen=True, slots=True)
class MetricLimits:
    """What a shard's figures are compared with."""

    max_streams: int
    data_dir: Path | None


def make_shard_health_metric(shard_id: int, is_ready: Callable[[], bool]) -> Metric:
    """Return whether a shard takes traffic: known from the process's start on."""
    text = "1 when the shard takes traffic, else 0."
    labels = {"shard_id": str(shard_id)}
    return Metric(
        "constellation_shard_health", MetricKind.GAUGE, text, make_reader(is_ready, **labels)
    )


def make_shard_metrics(
    shard: ShardManager, streams: StreamSource, calls: CallCounts, limits: MetricLimits
) -> list[Metric]:
    """Return what a recovered shard tells of itself."""
    make = _MetricFactory({"shard_id": str(shard.identity.shard_id)})
    return [
        *_make_counters(make, shard, calls),
        *_make_storage_metrics(make, shard, limits),
        *_make_traffic_metrics(make, shard, streams, limits),
        *_make_index_metrics(make, shard),
        *_make_progress_metrics(make, shard),
    ]


def make_shard_histograms(shard: ShardManager) -> list[HistogramMetric]:
    """Return how long things took, and how large they were."""
    labels = {"shard_id": str(shard.identity.shard_id)}
    stats = shard.stats

    def make_latency(
        name: str, text: str, read: Callable[[], tuple[list[float], list[int], float]]
    ) -> HistogramMetric:
        values = list(labels.values())
        return HistogramMetric(name, text, list(labels), lambda: [HistogramSample(values, *read())])

    def make(name: str, text: str, counted: Histogram) -> HistogramMetric:
        return make_histogram(f"constellation_{name}", text, counted, **labels)

    return [
        make_latency(
            "constellation_sync_latency_seconds",
            "From a delta's arrival until it is durable.",
            stats.commit_latency_histogram,
        ),
        make_latency(
            "constellation_delta_ack_seconds",
            "From a delta's arrival until its ack was handed to the transport.",
            stats.ack_latency_histogram,
        ),
        make("commit_seconds", "Store transactions.", stats.commit_seconds),
        make(
            "fsync_seconds",
            "The last step of a transaction, which makes it durable.",
            shard.store.sync_seconds,
        ),
        make("commit_deltas", "Deltas in one transaction.", stats.commit_deltas),
        make(
            "index_search_seconds",
            "Searches of the index, a micro-batch each.",
            shard.similar.search_seconds,
        ),
    ]


@dataclass(frozen=True, slots=True)
class _MetricFactory:
    """Makes metrics of one shard."""

    labels: Mapping[str, str]

    def gauge(self, name: str, text: str, read: Callable[[], float | None]) -> Metric:
        return Metric(
            f"constellation_{name}", MetricKind.GAUGE, text, make_reader(read, **self.labels)
        )

    def counter(self, name: str, text: str, read: Callable[[], float]) -> Metric:
        return Metric(
            f"constellation_{name}", MetricKind.COUNTER, text, make_reader(read, **self.labels)
        )

    def counters(
        self, name: str, text: str, label: str, read: Callable[[], Mapping[str, float]]
    ) -> Metric:
        """Return a counter with a value for each of a few causes.

        Each is there from the start, as 0: Prometheus sees no increase when a series appears.
        """

        def read_values() -> Values:
            return [(value, {**self.labels, label: key}) for key, value in read().items()]

        return Metric(f"constellation_{name}", MetricKind.COUNTER, text, read_values)


def _make_counters(make: _MetricFactory, shard: ShardManager, calls: CallCounts) -> list[Metric]:
    stats = shard.stats
    return [
        make.counters(
            "sync_requests",
            "Calls of SyncService that ended, by their status.",
            "status",
            lambda: _count_by_status(calls),
        ),
        make.counters(
            "deltas",
            "Deltas, by what became of them.",
            "result",
            lambda: _name_counts(stats.deltas) | {"failed": stats.failed_deltas},
        ),
        make.counter("patterns_stored", "Patterns accepted.", lambda: stats.accepted_patterns),
        make.counters(
            "patterns_rejected",
            "Patterns rejected, by why.",
            "reason",
            lambda: _name_counts(stats.rejected_patterns),
        ),
        make.counter("signals_dropped", "Watch signals dropped.", lambda: stats.dropped_signals),
        make.counter("commits", "Store transactions.", lambda: stats.commits),
        make.counter(
            "commits_unknown", "Commits with a lost answer.", lambda: stats.unknown_commits
        ),
        make.counter(
            "fenced_writes",
            "Writes refused: another process has the shard.",
            lambda: stats.fenced_writes,
        ),
        make.counter("resyncs", "Devices told to send everything again.", lambda: stats.resyncs),
    ]


def _make_storage_metrics(
    make: _MetricFactory, shard: ShardManager, limits: MetricLimits
) -> list[Metric]:
    table = shard.table

    return [
        make.gauge("patterns", "Patterns stored now.", lambda: table.totals.patterns),
        make.gauge("max_patterns", "MAX_PATTERNS.", lambda: shard.rules.max_patterns),
        make.gauge("total_devices", "Devices with a cursor.", lambda: table.totals.devices),
        make.gauge("max_devices", "MAX_DEVICES.", lambda: shard.rules.max_devices),
        make.gauge("disk_free_bytes", "Free under DATA_DIR.", lambda: _read_disk(limits, "free")),
        make.gauge(
            "disk_size_bytes", "The disk under DATA_DIR.", lambda: _read_disk(limits, "total")
        ),
    ]


def _make_traffic_metrics(
    make: _MetricFactory, shard: ShardManager, streams: StreamSource, limits: MetricLimits
) -> list[Metric]:
    stats = shard.stats
    return [
        make.gauge(
            "active_devices",
            "Devices with an open stream, or synced within ACTIVE_WINDOW_SECONDS.",
            lambda: shard.count_active_devices(streams.device_ids(), time.time()),
        ),
        make.gauge("streams_active", "Streams that said Hello.", lambda: len(streams.device_ids())),
        make.gauge("max_streams", "MAX_STREAMS.", lambda: limits.max_streams),
        make.gauge("outgoing_bytes", "Frames that wait for slow readers.", streams.waiting_bytes),
        make.gauge("inbox_deltas", "Deltas that wait for a commit.", lambda: len(shard.inbox)),
        make.gauge(
            "loop_lag_seconds",
            "How late the event loop was, at worst.",
            lambda: stats.loop_lag_seconds,
        ),
        make.counters(
            "hellos", "Hellos, by their answer.", "result", lambda: _name_counts(stats.hellos)
        ),
        make.counters(
            "devices_shed",
            "Devices turned away, by why.",
            "reason",
            lambda: _name_counts(stats.shed),
        ),
        make.counter("slow_readers", "Streams cut: nothing was read.", lambda: stats.slow_readers),
        make.counters(
            "global_acks",
            "Updates that devices answered.",
            "result",
            lambda: _name_counts(stats.global_acks),
        ),
    ]


def _make_index_metrics(make: _MetricFactory, shard: ShardManager) -> list[Metric]:
    return [
        make.gauge("index_patterns", "Patterns in the index.", lambda: len(shard.index)),
        make.gauge(
            "shareable_patterns",
            "Patterns that belong in the index, by the commits.",
            lambda: shard.feeder.shareable_count,
        ),
        make.gauge(
            "index_behind_commits",
            "Commits that the index has not taken in yet.",
            lambda: shard.table.totals.lsn - shard.feeder.lsn,
        ),
        make.gauge(
            "index_recall_ratio",
            "recall@10 of the last probe.",
            lambda: shard.recall.ratio if shard.recall else None,
        ),
    ]


def _make_progress_metrics(make: _MetricFactory, shard: ShardManager) -> list[Metric]:
    stats, globals_ = shard.stats, shard.global_state
    return [
        make.gauge("epoch", "Fencing token of the writer.", lambda: shard.epoch),
        make.gauge("lsn", "Number of the last commit.", lambda: shard.table.totals.lsn),
        make.gauge("recovery_seconds", "How long the start took.", lambda: stats.recovery_seconds),
        make.gauge(
            "snapshot_age_seconds",
            "Since this process last kept an index snapshot.",
            lambda: time.time() - stats.snapshot_at if stats.snapshot_at else None,
        ),
        make.gauge("round_id", "The federation's round served.", lambda: globals_.round.round_id),
        make.gauge(
            "round_age_seconds",
            "Since the pulls of that round.",
            lambda: time.time() - globals_.published.closed_at if globals_.published else None,
        ),
        make.gauge(
            "global_version", "Version of the global state.", lambda: globals_.version.version
        ),
        make.gauge(
            "codebook_version",
            "The codebook that the aggregates are of.",
            lambda: shard.aggregates.codebook_version,
        ),
    ]


def _read_disk(limits: MetricLimits, figure: str) -> float | None:
    """Return a figure of the disk under DATA_DIR; health tells when it is away."""
    if limits.data_dir is None or not limits.data_dir.exists():
        return None
    bytes_: float = getattr(shutil.disk_usage(limits.data_dir), figure)
    return bytes_


def _count_by_status(calls: CallCounts) -> Mapping[str, float]:
    """Return the calls of SyncService that ended, 0 for statuses that none had yet."""
    counts: Counter[str] = Counter(dict.fromkeys(_STATUSES, 0))
    for each in calls.methods():
        if each.service == "constellation.v1.SyncService":
            counts.update(dict(each.handled))  # the event loop may add a status meanwhile
    return counts


def _name_counts(counts: Mapping[E, int]) -> dict[str, float]:
    return {key.name.lower(): count for key, count in list(counts.items())}
