"""Composition root of a shard process: builds one shard, runs it and drains it."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import structlog

from constellation.blas import limit_blas_threads
from constellation.core.ingest.observers import NoTracer, ShardObservers
from constellation.core.ingest.stats import Stats
from constellation.core.recovery import recover_shard, require_sound
from constellation.core.shard import ShardManager
from constellation.core.table.ownership import require_own_devices
from constellation.shard_process import open_process
from constellation.shard_settings import make_pressure, to_identity, to_rules, to_session_limits
from constellation.stores import describe_location, open_snapshots, open_store
from constellation.telemetry.commit_traces import OpenTelemetryTracer
from constellation.telemetry.shard_metrics import (
    MetricLimits,
    make_shard_histograms,
    make_shard_metrics,
)
from constellation.transport.calls.tracing import is_enabled
from constellation.transport.codec.global_state import to_global
from constellation.transport.services.aggregates import AggregateServicer
from constellation.transport.services.auth import AuthServicer
from constellation.transport.services.components import ShardComponents
from constellation.transport.services.shard import ProcessInfo, ShardServicer
from constellation.transport.sync.service import SyncServicer
from constellation.transport.sync.streams import OpenStreams
from constellation.transport.sync.updates import UpdateEncoder
from constellation.v1 import (
    aggregates_pb2_grpc,
    auth_pb2_grpc,
    shard_pb2_grpc,
    sync_pb2_grpc,
)
from constellation.wall_clock import read_clock, require_plausible_clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from constellation.config import ShardConfig
    from constellation.core.ingest.observers import CommitTracer
    from constellation.core.recovery import SnapshotFiles
    from constellation.core.store import PatternStore
    from constellation.shard_process import ShardProcess
    from constellation.transport.health.service import Health
    from constellation.transport.listener import Ports

log = structlog.get_logger(__name__)

_RECALL_PROBE_SECONDS: Final = 300.0
"""The time between two probes of the index's recall."""
_RETURN_MAX_SECONDS: Final = 10.0
"""Devices that are asked to leave come back within this time."""
_MEMORY_PROBLEM: Final = (
    "all patterns are lost when this process ends: set DATA_DIR or POSTGRES_URL to keep them"
)
_SECONDS_PER_DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class RunningShard:
    """A shard that serves: its ports, and what tests and the command look at."""

    ports: Ports
    manager: ShardManager
    health: Health
    streams: OpenStreams
    drain_requested: asyncio.Event
    """Set when the API's Drain asked this shard to shut down."""

    @property
    def port(self) -> int:
        """The port of gRPC."""
        return self.ports.grpc

    def count_open_work(self) -> dict[str, int]:
        """Return, by name, how much work is cut off if the process ends now; no ack is lost."""
        return {"streams": len(self.streams), "unacked_deltas": len(self.manager.inbox)}


@asynccontextmanager
async def serve(config: ShardConfig) -> AsyncIterator[RunningShard]:
    """Run one shard: it serves once the block is entered, and has drained once it is left.

    Its ports are open from the start, before anything is created in its store. Until the shard
    serves, the process is live and says why it is not ready. The block fails when a background task
    fails. Raises ConfigError when the clock says a time that cannot be stored.
    """
    require_plausible_clock()
    limit_blas_threads()
    async with (
        open_process(config) as process,
        open_store(config, config.region) as store,
        asyncio.TaskGroup() as tasks,
    ):
        if config.postgres_url is None and config.data_dir is None:
            log.warning("store_in_memory", problem=_MEMORY_PROBLEM)
        started = time.monotonic()
        process.health.mark_not_ready("waiting to be the shard's one writer")
        epoch = await store.take_epoch()
        lease = tasks.create_task(store.hold_forever(), name="lease")  # recovery may outlast it
        process.health.mark_not_ready("recovering")
        stats = Stats()
        streams = OpenStreams(stats, to_session_limits(config))
        observers = ShardObservers(stats, _make_tracer(), streams)
        snapshots = await open_snapshots(config, store)
        manager = await _recover_shard(config, store, snapshots, observers, epoch=epoch)
        stats.recovery_seconds = time.monotonic() - started
        if (published := manager.global_state.published) is not None:
            process.security.revoked.replace_global(published.revoked_device_ids)
        _report_shard(process, config, manager, streams)
        encoder = UpdateEncoder(manager)
        feed = streams.send_updates_forever(manager, encoder)
        background = [
            lease,
            tasks.create_task(feed, name="global_feed"),
            *_start_background(tasks, config, manager, streams, process.health),
        ]
        if snapshots is not None:
            writing = manager.snapshots.write_forever(snapshots, config.snapshot_seconds)
            background.append(tasks.create_task(writing, name="snapshots"))
        _add_services(process, config, manager, streams, encoder)
        process.health.mark_ready()
        try:
            _log_start(process.ports, manager)
            yield RunningShard(
                process.ports, manager, process.health, streams, process.drain.received
            )
        finally:
            failed = any(task.done() for task in background)
            await _stop(process, config, manager, streams, failed=failed)
            if snapshots is not None and not failed:
                await manager.snapshots.write(snapshots)
            for task in background:
                task.cancel()
    log.info("shard_stopped", epoch=manager.epoch, lsn=manager.table.totals.lsn)


def _report_shard(
    process: ShardProcess, config: ShardConfig, manager: ShardManager, streams: OpenStreams
) -> None:
    """Report the recovered shard in the metrics and in the health of the process."""
    limits = MetricLimits(config.max_streams, config.data_dir)
    process.metrics.add(
        make_shard_metrics(manager, streams, process.calls, limits), make_shard_histograms(manager)
    )
    process.health.report_components(
        ShardComponents(
            process.health,
            manager,
            streams,
            data_dir=config.data_dir,
            max_streams=config.max_streams,
            global_max_age_seconds=config.global_max_age_seconds,
            describe_security=process.security.describe,
        )
    )


def _start_background(
    tasks: asyncio.TaskGroup,
    config: ShardConfig,
    manager: ShardManager,
    streams: OpenStreams,
    health: Health,
) -> list[asyncio.Task[None]]:
    """Start the tasks that run as long as the shard does. One that ends earlier has failed."""
    work = {
        "committer": manager.committer.commit_forever(),
        "pattern_sharing": manager.share_patterns_forever(config.shared_patterns_seconds),
        "similar_search": manager.similar.search_forever(),
        "aggregates": manager.aggregates.build_forever(manager.committer.run_with_commits_paused),
        "trends": manager.publish_trends_forever(config.global_interval_seconds),
        "expiry": manager.lifetimes.expire_forever(
            config.device_ttl_days * _SECONDS_PER_DAY, streams.device_ids
        ),
        "recount": manager.lifetimes.recount_forever(),
        "sweeper": streams.end_overdue_forever(),
        "store_watch": health.watch_forever(manager.store),
        "recall_probe": manager.measure_recall_forever(_RECALL_PROBE_SECONDS),
        "pressure": manager.pressure.watch_forever(manager.take_pressure),
        "loop_lag": manager.stats.watch_loop_forever(),
    }
    return [tasks.create_task(each, name=name) for name, each in work.items()]


def _make_tracer() -> CommitTracer:
    """Return the tracer of commits: one that does nothing, unless spans are exported."""
    return OpenTelemetryTracer() if is_enabled() else NoTracer()


async def _recover_shard(
    config: ShardConfig,
    store: PatternStore,
    snapshots: SnapshotFiles | None,
    observers: ShardObservers,
    *,
    epoch: int,
) -> ShardManager:
    """Return the shard as the store has it, checked. Raises DamagedStoreError otherwise."""
    rules, identity = to_rules(config), to_identity(config)
    recovered = await recover_shard(
        store,
        rules,
        snapshots,
        exact_limit=config.exact_limit,
        may_be_behind=config.postgres_url is not None,
        identity=identity,
    )
    require_sound(recovered, describe_location(config))
    if not config.accept_shard_map:
        require_own_devices(recovered.table, identity)
    manager = ShardManager(identity, rules, store, recovered, observers, epoch=epoch)
    manager.pressure = make_pressure(config)
    await manager.catalogue.ensure_digest(epoch)
    await manager.remove_other_liked()
    if (stored := await store.get_global()) is not None:
        await manager.restore_global(to_global(stored.payload))
    return manager


def _add_services(
    process: ShardProcess,
    config: ShardConfig,
    manager: ShardManager,
    streams: OpenStreams,
    encoder: UpdateEncoder,
) -> None:
    """Serve the shard's services; until now the listener has asked their callers to wait."""
    server: Any = process.listener.services  # the generated functions need only its two methods
    info = ProcessInfo(version("constellation-tv"), read_clock(), process.drain.request)
    sync_pb2_grpc.add_SyncServiceServicer_to_server(
        SyncServicer(manager, to_session_limits(config), streams, process.calls, encoder), server
    )
    shard_pb2_grpc.add_ShardServiceServicer_to_server(ShardServicer(manager, streams, info), server)
    security = process.security
    aggregates_pb2_grpc.add_AggregateServiceServicer_to_server(
        AggregateServicer(
            manager,
            security.make_header_verifier(),
            lambda adopted: security.revoked.replace_global(adopted.revoked_device_ids),
        ),
        server,
    )
    auth_pb2_grpc.add_AuthServiceServicer_to_server(AuthServicer(process.issuer), server)


def _log_start(ports: Ports, manager: ShardManager) -> None:
    log.info(
        "shard_started",
        epoch=manager.epoch,
        port=ports.grpc,
        rest_port=ports.rest,
        metrics_port=ports.metrics,
        store=manager.store.kind,
        patterns=manager.table.totals.patterns,
        devices=manager.table.totals.devices,
    )


async def _stop(
    process: ShardProcess,
    config: ShardConfig,
    manager: ShardManager,
    streams: OpenStreams,
    *,
    failed: bool,
) -> None:
    """Drain the shard, and store its presence; after a failure only drain, at once."""
    spread = process.drain.spread_seconds
    seconds = config.drain_seconds if spread is None else spread
    manager.presence.settle(streams.device_ids(), read_clock())
    await _drain(process, manager, streams, 0 if failed else seconds)
    if failed:
        return
    await manager.lifetimes.save_presence(config.device_ttl_days * _SECONDS_PER_DAY, read_clock())


async def _drain(
    process: ShardProcess, manager: ShardManager, streams: OpenStreams, seconds: float
) -> None:
    """Accept no new session, ask every device to leave, finish the last commits, then stop."""
    process.health.mark_not_ready("draining")
    manager.drain()
    log.info("drain_started", streams=len(streams), seconds=seconds)
    if len(streams):
        await streams.drain(seconds, _RETURN_MAX_SECONDS)
    await process.listener.stop(grace=1.0)
    async with manager.committer.write_lock:  # wait until the last commit is written
        log.info("streams_ended")
