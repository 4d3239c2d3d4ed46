"""Composition root: builds one federation, runs it, ends it."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog

from constellation.blas import limit_blas_threads
from constellation.errors import ConfigError
from constellation.storage.postgres.dialect import DIALECTS
from constellation.telemetry.call_metrics import make_call_histograms, make_call_metrics
from constellation.telemetry.logs import get_log_level, set_log_level
from constellation.telemetry.metrics import serve_metrics
from constellation.telemetry.traces import export_traces
from constellation.transport.calls.counters import CallStats
from constellation.transport.codec.aggregates import MAX_CANDIDATES
from constellation.transport.health.service import Health
from constellation.transport.listener import COMMON_SERVICES, ListenerConfig, Ports, open_listener
from constellation.transport.services.process import ProcessServicer
from constellation.v1 import (
    aggregates_pb2,
    aggregates_pb2_grpc,
    federation_pb2,
    federation_pb2_grpc,
    health_pb2,
)
from federation.journal.open import open_journal
from federation.merge.codebook import ClusterRules
from federation.merge.published_clusters import PublishRules
from federation.merge.result import RoundRules
from federation.merge.trends import TrendRules
from federation.metrics import (
    make_federation_histograms,
    make_federation_metrics,
    make_health_metric,
)
from federation.rounds import RoundPolicy, Rounds
from federation.service import FederationServicer, RelayServicer
from federation.shards.client import ShardClient
from federation.shards.fleet import Fleet
from federation.shards.publisher import Publisher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from constellation.transport.listener import DeferredServices
    from federation.config import FederationConfig

log = structlog.get_logger(__name__)

SERVICES: Final = (
    federation_pb2.DESCRIPTOR.services_by_name["FederationService"].full_name,
    aggregates_pb2.DESCRIPTOR.services_by_name["AggregateService"].full_name,
)
_MAX_CALLS: Final = 256
_OVERDUE_INTERVALS: Final = 2.5
_MAX_ANCHORS: Final = 4096
"""Clusters of which a global is about 8 MiB; a shard takes 16."""


@dataclass(frozen=True, slots=True)
class RunningFederation:
    """A federation that serves; it may still wait to become the active one."""

    ports: Ports
    rounds: Rounds
    publisher: Publisher
    health: Health

    @property
    def port(self) -> int:
        return self.ports.grpc


def check_config(config: FederationConfig) -> None:
    """Raise ConfigError for settings that no round could go by."""
    problems = []
    if not config.shard_addrs and not config.relay_addrs:
        problems.append("SHARD_ADDRS or RELAY_ADDRS is required")
    if both := sorted(set(config.shard_addrs) & set(config.relay_addrs)):
        problems.append(f"SHARD_ADDRS and RELAY_ADDRS both name {', '.join(both)}")
    for name, most in (
        ("candidates_per_shard", MAX_CANDIDATES),
        ("patterns_per_shard", _MAX_ANCHORS),
    ):
        if (value := getattr(config, name)) > most:
            problems.append(f"{name.upper()}: must be at most {most}, got {value}")
    if problems:
        raise ConfigError("; ".join(problems))


def to_round_rules(config: FederationConfig) -> RoundRules:
    """Return the settings that decide what a round makes of what it heard."""
    return RoundRules(
        clusters=ClusterRules(
            limit=config.patterns_per_shard,
            min_devices=config.candidate_devices,
            min_shards=config.min_shards,
        ),
        publishing=PublishRules(
            config.min_quality_threshold,
            config.global_k_anonymity,
            config.min_shards,
            config.patterns_per_shard,
        ),
        trends=TrendRules(
            decay_rate=config.trend_decay_rate,
            floor=config.trend_floor,
            surprise=config.trend_surprise,
            min_devices=config.global_k_anonymity,
            min_shards=config.min_shards,
        ),
        reanchor_hours=config.reanchor_hours,
        is_robust=config.robust_merge == "geometric_median",
    )


def to_round_policy(config: FederationConfig) -> RoundPolicy:
    """Return the settings that decide when rounds happen, and what they wait for."""
    return RoundPolicy(
        interval_seconds=config.federation_interval_secs,
        pull_timeout_seconds=config.pull_timeout_seconds,
        max_age_seconds=config.max_age_seconds,
        min_shards=config.min_shards,
        min_coverage=config.min_coverage,
        max_candidates=config.candidates_per_shard,
        is_relay=config.relay,
    )


def export_federation_traces(config: FederationConfig) -> AbstractAsyncContextManager[None]:
    """Export this process's spans until the block is left, where to is told by the environment."""
    return export_traces("constellation-federation", {"constellation.region": config.region})


@asynccontextmanager
async def open_rounds(config: FederationConfig) -> AsyncIterator[tuple[Rounds, Publisher]]:
    """Open the journal, and clients to every shard; nothing is asked of them yet."""
    check_config(config)
    limit_blas_threads()
    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(
            open_journal(config.data_dir, config.postgres_url, DIALECTS[config.vector_extension])
        )
        clients = [
            await stack.enter_async_context(ShardClient.open(address, is_relay=is_relay))
            for addresses, is_relay in ((config.shard_addrs, False), (config.relay_addrs, True))
            for address in addresses
        ]
        publisher = Publisher(clients, config.publish_timeout_seconds)
        rounds = Rounds(
            Fleet(clients), journal, publisher, to_round_rules(config), to_round_policy(config)
        )
        yield rounds, publisher


@asynccontextmanager
async def serve(config: FederationConfig) -> AsyncIterator[RunningFederation]:
    """Run one federation until the block is left. A failed task fails the block.

    Its ports are open from the start; what it serves is, once its journal is open.
    """
    check_config(config)
    health, calls = Health((*SERVICES, *COMMON_SERVICES)), CallStats()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(export_federation_traces(config))
        metrics = stack.enter_context(serve_metrics(config.metrics_addr))
        metrics.add(
            [make_health_metric(lambda: not health.reason), *make_call_metrics(calls)],
            make_call_histograms(calls),
        )
        process = ProcessServicer(get_log_level, set_log_level)
        listener = await stack.enter_async_context(
            open_listener(_to_listener_config(config), health, process, calls)
        )
        rounds, publisher = await stack.enter_async_context(open_rounds(config))
        metrics.add(
            make_federation_metrics(rounds, publisher, config.federation_interval_secs),
            make_federation_histograms(rounds),
        )
        health.read_components = partial(
            _report_components, health, rounds, config.federation_interval_secs
        )
        _add_services(listener.services, rounds)
        health.mark_not_ready("waiting to become the active federation")
        ports = Ports(listener.grpc_port, listener.rest_port, metrics.port)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        log.info(
            "federation_started",
            port=ports.grpc,
            rest_port=ports.rest,
            metrics_port=ports.metrics,
            addresses=len(rounds.fleet.clients),
        )
        active = _run_active(config, rounds, publisher, health)
        active_task = tasks.create_task(active, name="active")
        try:
            yield RunningFederation(ports, rounds, publisher, health)
        finally:
            health.mark_not_ready("stopping")
            active_task.cancel()
            await listener.server.stop(grace=1.0)
    log.info("federation_stopped")


def _to_listener_config(config: FederationConfig) -> ListenerConfig:
    return ListenerConfig(
        grpc_addr=config.grpc_addr,
        rest_addr=config.rest_addr,
        services=SERVICES,
        max_calls=_MAX_CALLS,
    )


async def _run_active(
    config: FederationConfig, rounds: Rounds, publisher: Publisher, health: Health
) -> None:
    """Wait to become the active federation; then run rounds until cancelled."""
    await rounds.resume()
    health.mark_ready()
    log.info("federation_active")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(rounds.stay_active_forever(), name="hold")
        tasks.create_task(publisher.catch_up_forever(config.catch_up_seconds), name="catch_up")
        if config.federation_interval_secs and not config.relay:
            tasks.create_task(rounds.run_forever(), name="rounds")


def _add_services(services: DeferredServices, rounds: Rounds) -> None:
    server: Any = services  # as far as the generated functions go
    federation_pb2_grpc.add_FederationServiceServicer_to_server(FederationServicer(rounds), server)
    aggregates_pb2_grpc.add_AggregateServiceServicer_to_server(RelayServicer(rounds), server)


def _report_components(
    health: Health, rounds: Rounds, interval_seconds: float
) -> list[health_pb2.ComponentHealth]:
    """Return how each part of a federation is, with the figures that say so."""
    return [
        _report_shards(rounds),
        _report_round(rounds, interval_seconds),
        health.describe_traffic("accepting traffic"),
    ]


def _report_shards(rounds: Rounds) -> health_pb2.ComponentHealth:
    known, addresses = len(rounds.fleet.aggregates), len(rounds.fleet.clients)
    coverage = rounds.stats.coverage
    is_low = coverage is not None and coverage < rounds.policy.min_coverage
    last = (
        "no round since the start" if coverage is None else f"the last round heard {coverage:.0%}"
    )
    return health_pb2.ComponentHealth(
        name="shards",
        status=health_pb2.HEALTH_STATUS_DEGRADED if is_low else health_pb2.HEALTH_STATUS_HEALTHY,
        message=f"{known} known behind {addresses} addresses, {last}",
    )


def _report_round(rounds: Rounds, interval_seconds: float) -> health_pb2.ComponentHealth:
    """Tell how old the last round is: more than two and a half intervals, and one is missing.

    Until a federation is the active one, another runs the rounds, and none of them is missing here.
    """
    published_at = rounds.stats.published_at
    age = 0.0 if published_at is None else time.time() - published_at
    is_overdue = interval_seconds > 0 and age > _OVERDUE_INTERVALS * interval_seconds
    if published_at is None:
        message = "none is run here: another federation is the active one"
    elif rounds.last_global is None:
        message = f"none was published in the {age:.0f} seconds of being the active federation"
    else:
        message = f"round {rounds.last_global.round_id} was published {age:.0f} seconds ago"
    return health_pb2.ComponentHealth(
        name="round",
        status=health_pb2.HEALTH_STATUS_DEGRADED
        if is_overdue
        else health_pb2.HEALTH_STATUS_HEALTHY,
        message=message,
    )
