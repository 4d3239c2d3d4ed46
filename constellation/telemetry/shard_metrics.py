"""The metrics of a shard, in addition to those of every process."""

from __future__ import annotations

import shutil
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
from constellation.wall_clock import read_clock

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
    """The open streams, as these metrics need them."""

    def device_ids(self) -> Sequence[bytes]:
        """Return the devices that have an open stream and have sent Hello."""
        ...

    def waiting_bytes(self) -> int:
        """Return the bytes of all frames that wait to be written."""
        ...


@dataclass(frozen=True, slots=True)
class MetricLimits:
    """The limits with which a shard's figures are compared."""

    max_streams: int
    data_dir: Path | None


def make_shard_health_metric(shard_id: int, is_ready: Callable[[], bool]) -> Metric:
    """Return the metric of whether a shard accepts traffic; it exists from the process's start."""
    text = "1 when the shard accepts traffic, else 0."
    labels = {"shard_id": str(shard_id)}
    return Metric(
        "constellation_shard_health", MetricKind.GAUGE, text, make_reader(is_ready, **labels)
    )


def make_shard_metrics(
    shard: ShardManager, streams: StreamSource, calls: CallCounts, limits: MetricLimits
) -> list[Metric]:
    """Return the counters and gauges of a recovered shard."""
    make = _MetricFactory({"shard_id": str(shard.identity.shard_id)})
    return [
        *_make_counters(make, shard, calls),
        *_make_storage_metrics(make, shard, limits),
        *_make_traffic_metrics(make, shard, streams, limits),
        *_make_index_metrics(make, shard),
        *_make_progress_metrics(make, shard),
    ]


def make_shard_histograms(shard: ShardManager) -> list[HistogramMetric]:
    """Return the histograms of a recovered shard: durations and sizes."""
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
            stats.read_commit_latency_histogram,
        ),
        make_latency(
            "constellation_delta_ack_seconds",
            "From a delta's arrival until its ack was handed to the transport.",
            stats.read_ack_latency_histogram,
        ),
        make("commit_seconds", "Duration of store transactions.", stats.commit_seconds),
        make(
            "fsync_seconds",
            "Duration of the step of a transaction that makes it durable.",
            shard.store.sync_seconds,
        ),
        make("commit_deltas", "Deltas in one transaction.", stats.commit_deltas),
        make(
            "index_search_seconds",
            "Duration of searches of the index, one per micro-batch.",
            shard.similar.search_seconds,
        ),
    ]


@dataclass(frozen=True, slots=True)
class _MetricFactory:
    """Makes metrics that carry the labels of one shard."""

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
        """Return a counter with one value for each of a few causes.

        Each value exists from the start, as 0, because Prometheus sees no increase when a series
        appears.
        """

        def read_values() -> Values:
            return [(value, {**self.labels, label: key}) for key, value in read().items()]

        return Metric(f"constellation_{name}", MetricKind.COUNTER, text, read_values)


def _make_counters(make: _MetricFactory, shard: ShardManager, calls: CallCounts) -> list[Metric]:
    stats = shard.stats
    return [
        make.counters(
            "sync_requests",
            "Calls of SyncService that ended, by status.",
            "status",
            lambda: _count_by_status(calls),
        ),
        make.counters(
            "deltas",
            "Deltas, by result.",
            "result",
            lambda: _name_counts(stats.deltas) | {"failed": stats.failed_deltas},
        ),
        make.counter("patterns_stored", "Patterns accepted.", lambda: stats.accepted_patterns),
        make.counters(
            "patterns_rejected",
            "Patterns rejected, by reason.",
            "reason",
            lambda: _name_counts(stats.rejected_patterns),
        ),
        make.counter("signals_dropped", "Watch signals dropped.", lambda: stats.dropped_signals),
        make.counter("commits", "Store transactions.", lambda: stats.commits),
        make.counter(
            "commits_unknown",
            "Commits with an unknown outcome: the answer was lost.",
            lambda: stats.unknown_commits,
        ),
        make.counter(
            "fenced_writes",
            "Writes refused because another process has taken over the shard.",
            lambda: stats.fenced_writes,
        ),
        make.counter(
            "resyncs", "Devices that were asked to send everything again.", lambda: stats.resyncs
        ),
    ]


def _make_storage_metrics(
    make: _MetricFactory, shard: ShardManager, limits: MetricLimits
) -> list[Metric]:
    table = shard.table

    return [
        make.gauge("patterns", "Patterns stored now.", lambda: table.totals.patterns),
        make.gauge("max_patterns", "MAX_PATTERNS.", lambda: shard.rules.max_patterns),
        make.gauge("total_devices", "Devices with a cursor.", lambda: table.totals.devices),
        make.gauge(
            "counted_devices",
            "Devices that count for what other devices see.",
            lambda: table.standing.counted,
        ),
        make.gauge(
            "quarantined_devices",
            "Devices that an operator has put into quarantine.",
            lambda: table.quarantined_count,
        ),
        make.gauge("max_devices", "MAX_DEVICES.", lambda: shard.rules.max_devices),
        make.gauge(
            "contributors",
            "Devices whose liked content is stored.",
            lambda: len(table.liked),
        ),
        make.gauge(
            "liked_contents",
            "Liked content items of all contributing devices together.",
            lambda: table.liked.content_count,
        ),
        make.gauge(
            "disk_free_bytes",
            "Free bytes of the disk under DATA_DIR.",
            lambda: _read_disk(limits, "free"),
        ),
        make.gauge(
            "disk_size_bytes",
            "Size of the disk under DATA_DIR.",
            lambda: _read_disk(limits, "total"),
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
            lambda: shard.count_active_devices(streams.device_ids(), read_clock()),
        ),
        make.gauge(
            "streams_active",
            "Open streams that have sent Hello.",
            lambda: len(streams.device_ids()),
        ),
        make.gauge("max_streams", "MAX_STREAMS.", lambda: limits.max_streams),
        make.gauge("outgoing_bytes", "Frames that wait for slow readers.", streams.waiting_bytes),
        make.gauge("inbox_deltas", "Deltas that wait for a commit.", lambda: len(shard.inbox)),
        make.gauge(
            "loop_lag_seconds",
            "The longest delay of the event loop.",
            lambda: stats.loop_lag_seconds,
        ),
        make.counters("hellos", "Hellos, by result.", "result", lambda: _name_counts(stats.hellos)),
        make.counters(
            "devices_shed",
            "Devices turned away, by reason.",
            "reason",
            lambda: _name_counts(stats.shed),
        ),
        make.counter(
            "slow_readers",
            "Streams ended because the device read nothing.",
            lambda: stats.slow_readers,
        ),
        make.counters(
            "global_acks",
            "Updates that devices answered, by result.",
            "result",
            lambda: _name_counts(stats.global_acks),
        ),
    ]


def _make_index_metrics(make: _MetricFactory, shard: ShardManager) -> list[Metric]:
    return [
        make.gauge("index_patterns", "Shared patterns in the index.", lambda: len(shard.index)),
        make.gauge(
            "shared_patterns",
            "Shared patterns that are published, and belong in the index.",
            lambda: shard.table.groups.count,
        ),
        make.gauge(
            "index_behind_patterns",
            "Shared patterns that changed and that the index has not taken in yet.",
            lambda: shard.sharing.pending_count,
        ),
        make.gauge(
            "waiting_patterns",
            "Patterns that found no companions in the last epoch, so that they are not shared.",
            lambda: shard.sharing.last.waiting_count if shard.sharing.last else None,
        ),
        make.gauge(
            "sharing_age_seconds",
            "Seconds since the start of the last epoch of shared patterns that was finished.",
            lambda: read_clock() - shard.sharing.last.started_at if shard.sharing.last else None,
        ),
        make.gauge(
            "sharing_seconds",
            "Duration of the last epoch of shared patterns.",
            lambda: shard.sharing.last.seconds if shard.sharing.last else None,
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
            "Seconds since this process last wrote an index snapshot.",
            lambda: read_clock() - stats.snapshot_at if stats.snapshot_at else None,
        ),
        make.gauge(
            "round_id",
            "The federation round that the shard serves.",
            lambda: globals_.round.round_id,
        ),
        make.gauge(
            "round_age_seconds",
            "Seconds since the pulls of the served round ended.",
            lambda: read_clock() - globals_.published.closed_at if globals_.published else None,
        ),
        make.gauge(
            "global_version", "Version of the global state.", lambda: globals_.version.version
        ),
        make.gauge(
            "codebook_version",
            "Version of the codebook on which the aggregates are based.",
            lambda: shard.aggregates.codebook_version,
        ),
        make.gauge(
            "related_rows",
            "Rows of related content in the global state.",
            lambda: len(globals_.published.related) if globals_.published else 0,
        ),
        make.gauge(
            "popular_lists",
            "Lists of popular content in the global state.",
            lambda: len(globals_.published.popular) if globals_.published else 0,
        ),
    ]


def _read_disk(limits: MetricLimits, figure: str) -> float | None:
    """Return a figure of the disk under DATA_DIR; None when there is no such directory."""
    if limits.data_dir is None or not limits.data_dir.exists():
        return None
    bytes_: float = getattr(shutil.disk_usage(limits.data_dir), figure)
    return bytes_


def _count_by_status(calls: CallCounts) -> Mapping[str, float]:
    """Return the number of ended calls of SyncService by status; 0 for statuses without calls."""
    counts: Counter[str] = Counter(dict.fromkeys(_STATUSES, 0))
    for method in calls.methods():
        if method.service == "constellation.v1.SyncService":
            counts.update(dict(method.handled))  # a copy: the event loop may add a status
    return counts


def _name_counts(counts: Mapping[E, int]) -> dict[str, float]:
    return {key.name.lower(): count for key, count in list(counts.items())}
