"""Composition root: builds one shard, runs it, drains it."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import structlog

from constellation.blas import limit_blas_threads
from constellation.core.ingest.observers import NoTracer, ShardObservers
from constellation.core.ingest.stats import Stats
from constellation.core.recovery import recover_shard, require_sound
from constellation.core.rules import Rules
from constellation.core.shard import ShardManager
from constellation.core.table.ownership import ShardIdentity
from constellation.errors import ConfigError
from constellation.federated.terms import check_term
from constellation.stores import describe_location, snapshot_files
from constellation.telemetry.call_metrics import make_call_histograms, make_call_metrics
from constellation.telemetry.commit_traces import OpenTelemetryTracer
from constellation.telemetry.logs import get_log_level, set_log_level
from constellation.telemetry.metrics import serve_metrics
from constellation.telemetry.shard_metrics import (
    MetricLimits,
    make_shard_health_metric,
    make_shard_histograms,
    make_shard_metrics,
)
from constellation.transport.calls.counters import CallStats
from constellation.transport.calls.tracing import is_enabled
from constellation.transport.codec.globals import to_global
from constellation.transport.health.service import Health
from constellation.transport.listener import COMMON_SERVICES, ListenerConfig, Ports, open_listener
from constellation.transport.services.aggregates import AggregateServicer
from constellation.transport.services.components import ShardComponents
from constellation.transport.services.process import ProcessServicer
from constellation.transport.services.shard import ProcessInfo, ShardServicer
from constellation.transport.sync.limits import SessionLimits
from constellation.transport.sync.service import SyncServicer
from constellation.transport.sync.streams import OpenStreams
from constellation.v1 import (
    aggregates_pb2,
    aggregates_pb2_grpc,
    shard_pb2,
    shard_pb2_grpc,
    sync_pb2,
    sync_pb2_grpc,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc

    from constellation.config import ShardConfig
    from constellation.core.ingest.observers import CommitTracer
    from constellation.core.recovery import SnapshotFiles
    from constellation.core.store import PatternStore
    from constellation.transport.listener import DeferredServices

log = structlog.get_logger(__name__)

SERVICES: Final = (
    sync_pb2.DESCRIPTOR.services_by_name["SyncService"].full_name,
    shard_pb2.DESCRIPTOR.services_by_name["ShardService"].full_name,
    aggregates_pb2.DESCRIPTOR.services_by_name["AggregateService"].full_name,
)

_EXTRA_CALLS: Final = 256
"""Calls beside the streams."""
_REBUILD_CHECK_SECONDS: Final = 1.0
_RECALL_PROBE_SECONDS: Final = 300.0
"""Between two probes of the index."""
_RETURN_MAX_SECONDS: Final = 10.0
"""Devices that were asked to leave come back within this."""
_SECONDS_PER_DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class RunningShard:
    """A shard that serves."""

    ports: Ports
    manager: ShardManager
    health: Health
    drain_requested: asyncio.Event
    """Set once somebody asked this shard to go away."""

    @property
    def port(self) -> int:
        return self.ports.grpc


def to_rules(config: ShardConfig) -> Rules:
    """Return the settings that decide what is admitted, stored and shown."""
    return Rules(
        max_devices=config.max_devices,
        max_patterns=config.max_patterns,
        max_patterns_per_device=config.max_patterns_per_device,
        quality_threshold=config.quality_threshold,
        share_threshold=config.share_threshold,
        k_anonymity=config.k_anonymity,
        trend_decay_rate=config.trend_decay_rate,
        active_window_seconds=config.active_window_seconds,
    )


def to_identity(config: ShardConfig) -> ShardIdentity:
    """Return which shard the settings make this; raise ConfigError when they contradict."""
    try:
        check_term(config.region)
    except ValueError as error:
        raise ConfigError(f"REGION: {error}") from None
    if config.shard_map and config.shard_id not in config.shard_map:
        raise ConfigError(
            f"SHARD_ID is {config.shard_id}, but SHARD_MAP has only {sorted(config.shard_map)}"
        )
    return ShardIdentity(config.shard_id, config.region, config.shard_map)


def to_session_limits(config: ShardConfig) -> SessionLimits:
    """Return the settings that devices are told in Welcome."""
    return SessionLimits(
        max_inflight_deltas=config.max_inflight_deltas,
        max_patterns_per_delta=config.max_patterns_per_delta,
        heartbeat_seconds=config.heartbeat_seconds,
        sync_interval_seconds=config.sync_interval_seconds,
        global_min_interval_seconds=config.global_min_interval_seconds,
        max_streams=config.max_streams,
        slow_reader_seconds=config.slow_reader_seconds,
    )


@asynccontextmanager
async def serve(config: ShardConfig, store: PatternStore) -> AsyncIterator[RunningShard]:
    """Run one shard: serving once entered, drained once left. A failed task fails the block.

    Its ports are open from the start: until it serves, it is live, and tells why it is not ready.
    """
    limit_blas_threads()
    health, drain, calls = Health((*SERVICES, *COMMON_SERVICES)), _DrainRequest(), CallStats()
    files = snapshot_files(config)
    async with AsyncExitStack() as stack:
        metrics = stack.enter_context(serve_metrics(config.metrics_addr))
        metrics.add(
            [
                make_shard_health_metric(config.shard_id, lambda: not health.reason),
                *make_call_metrics(calls),
            ],
            make_call_histograms(calls),
        )
        listener = await stack.enter_async_context(
            open_listener(
                _to_listener_config(config),
                health,
                ProcessServicer(get_log_level, set_log_level),
                calls,
            )
        )
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        started = time.monotonic()
        health.mark_not_ready("waiting to be the shard's one writer")
        epoch = await store.take_epoch()
        lease = tasks.create_task(store.hold_forever(), name="lease")  # recovery may outlast it
        health.mark_not_ready("recovering")
        stats = Stats()
        streams = OpenStreams(stats, to_session_limits(config))
        observers = ShardObservers(stats, _make_tracer(), streams)
        manager = await _recover_shard(config, store, files, observers, epoch=epoch)
        stats.recovery_seconds = time.monotonic() - started
        metrics.add(
            make_shard_metrics(manager, streams, calls, _to_metric_limits(config)),
            make_shard_histograms(manager),
        )
        background = [lease, *_start_background(tasks, config, manager, streams, health)]
        health.read_components = _make_components(config, manager, streams, health)
        _add_services(listener.services, config, manager, streams, drain, calls)
        health.mark_ready()
        try:
            log.info(
                "shard_started",
                epoch=manager.epoch,
                port=listener.grpc_port,
                rest_port=listener.rest_port,
                metrics_port=metrics.port,
                store=store.kind,
                patterns=manager.table.totals.patterns,
                devices=manager.table.totals.devices,
            )
            ports = Ports(listener.grpc_port, listener.rest_port, metrics.port)
            yield RunningShard(ports, manager, health, drain.received)
        finally:
            seconds = config.drain_seconds if drain.spread_seconds is None else drain.spread_seconds
            failed = any(task.done() for task in background)
            await _stop(listener.server, manager, streams, health, 0 if failed else seconds)
            if not failed:  # a feeder that is gone would never catch up
                await manager.feeder.wait_until_caught_up()
                if files is not None:
                    await manager.write_snapshot(files)
            for task in background:
                task.cancel()
    log.info("shard_stopped", epoch=manager.epoch, lsn=manager.table.totals.lsn)


def to_resource_attributes(config: ShardConfig) -> dict[str, str]:
    """Return what every span of this process says of it."""
    return {
        "constellation.shard_id": str(config.shard_id),
        "constellation.region": config.region,
    }


def _make_tracer() -> CommitTracer:
    """Return what traces commits: nothing, unless spans are exported."""
    return OpenTelemetryTracer() if is_enabled() else NoTracer()


def _to_metric_limits(config: ShardConfig) -> MetricLimits:
    return MetricLimits(config.max_streams, config.data_dir)


def _to_listener_config(config: ShardConfig) -> ListenerConfig:
    return ListenerConfig(
        grpc_addr=config.grpc_addr,
        rest_addr=config.rest_addr,
        services=SERVICES,
        max_calls=config.max_streams + _EXTRA_CALLS,
    )


def _make_components(
    config: ShardConfig, manager: ShardManager, streams: OpenStreams, health: Health
) -> ShardComponents:
    return ShardComponents(
        health,
        manager,
        streams,
        data_dir=config.data_dir,
        max_streams=config.max_streams,
        global_max_age_seconds=config.global_max_age_seconds,
    )


def _start_background(
    tasks: asyncio.TaskGroup,
    config: ShardConfig,
    manager: ShardManager,
    streams: OpenStreams,
    health: Health,
) -> list[asyncio.Task[None]]:
    """Start what runs as long as the shard does; a task that ends before has failed."""
    work = {
        "committer": manager.committer.commit_forever(),
        "index_feeder": manager.feeder.feed_forever(),
        "index_rebuild": manager.feeder.rebuild_forever(_REBUILD_CHECK_SECONDS),
        "similar_search": manager.similar.search_forever(),
        "aggregates": manager.aggregates.build_forever(manager.committer.run_with_commits_paused),
        "trends": manager.publish_trends_forever(config.global_interval_seconds),
        "expiry": manager.expire_forever(config.device_ttl_days * _SECONDS_PER_DAY),
        "global_feed": streams.send_updates_forever(manager),
        "sweeper": streams.end_overdue_forever(),
        "store_watch": health.watch_forever(manager.store),
        "recall_probe": manager.measure_recall_forever(_RECALL_PROBE_SECONDS),
        "loop_lag": manager.stats.watch_loop_forever(),
    }
    if (files := snapshot_files(config)) is not None:
        work["snapshots"] = manager.write_snapshots_forever(files, config.snapshot_seconds)
    return [tasks.create_task(each, name=name) for name, each in work.items()]


class _DrainRequest:
    """A wish, from the API, that this shard go away."""

    def __init__(self) -> None:
        self.received = asyncio.Event()
        self.spread_seconds: float | None = None

    def request(self, seconds: float | None) -> None:
        self.spread_seconds = seconds
        self.received.set()


async def _recover_shard(
    config: ShardConfig,
    store: PatternStore,
    files: SnapshotFiles | None,
    observers: ShardObservers,
    *,
    epoch: int,
) -> ShardManager:
    rules, identity = to_rules(config), to_identity(config)
    recovered = await recover_shard(
        store,
        rules,
        files,
        exact_limit=config.exact_limit,
        may_be_behind=config.postgres_url is not None,
        identity=identity,
    )
    require_sound(recovered, describe_location(config))
    manager = ShardManager(identity, rules, store, recovered, observers, epoch=epoch)
    await manager.catalogue.load()
    if (stored := await store.get_global()) is not None:
        manager.restore_global(to_global(stored.payload))
    return manager


def _add_services(
    services: DeferredServices,
    config: ShardConfig,
    manager: ShardManager,
    streams: OpenStreams,
    drain: _DrainRequest,
    calls: CallStats,
) -> None:
    """Serve everything: whoever was told to wait gets an answer from now on."""
    server: Any = services  # as far as the generated functions go
    process = ProcessInfo(version("constellation-tv"), time.time(), drain.request)
    sync_pb2_grpc.add_SyncServiceServicer_to_server(
        SyncServicer(manager, to_session_limits(config), streams, calls), server
    )
    shard_pb2_grpc.add_ShardServiceServicer_to_server(
        ShardServicer(manager, streams, process), server
    )
    aggregates_pb2_grpc.add_AggregateServiceServicer_to_server(AggregateServicer(manager), server)


async def _stop(
    server: grpc.aio.Server,
    manager: ShardManager,
    streams: OpenStreams,
    health: Health,
    seconds: float,
) -> None:
    """Go away in order: no new sessions, goodbyes, the last commits and acks, then the end."""
    health.mark_not_ready("draining")
    manager.is_draining = True
    log.info("drain_started", streams=len(streams), seconds=seconds)
    if len(streams):
        await streams.drain(seconds, _RETURN_MAX_SECONDS)
    await server.stop(grace=1.0)
    async with manager.committer.write_lock:  # what is being written is written
        log.info("streams_ended")
