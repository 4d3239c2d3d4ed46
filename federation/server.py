"""Composition root: builds one federation, runs it, ends it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from constellation.core.errors import ConfigError
from constellation.storage.dialect import DIALECTS
from constellation.telemetry.metrics import metrics_served
from constellation.transport.aggregates import MAX_CANDIDATES
from constellation.transport.health import Health, HealthServicer, traffic
from constellation.transport.listener import (
    Ports,
    bind,
    local_address,
    make_server,
    serve_standard,
)
from constellation.transport.rest_listener import rest_served
from constellation.v1 import (
    aggregates_pb2,
    aggregates_pb2_grpc,
    federation_pb2,
    federation_pb2_grpc,
    health_pb2,
    health_pb2_grpc,
)
from federation.clusters import ClusterRules
from federation.described import Gates
from federation.fleet import Fleet
from federation.journal.open import open_journal
from federation.metrics import federation_metrics
from federation.publisher import Publisher
from federation.result import RoundRules
from federation.rounds import Pace, Rounds
from federation.service import AggregateServicer, FederationServicer
from federation.shards import ShardClient
from federation.trends import TrendRules

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc

    from federation.config import FederationConfig

log = structlog.get_logger(__name__)

SERVICES: Final = (
    federation_pb2.DESCRIPTOR.services_by_name["FederationService"].full_name,
    aggregates_pb2.DESCRIPTOR.services_by_name["AggregateService"].full_name,
    health_pb2.DESCRIPTOR.services_by_name["HealthService"].full_name,
)
_MAX_CALLS: Final = 64
_ANCHORS: Final = 4096
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


def require_sound(config: FederationConfig) -> None:
    """Raise ConfigError for settings that no round could go by."""
    problems = []
    if not config.shard_addrs and not config.relay_addrs:
        problems.append("SHARD_ADDRS or RELAY_ADDRS is required")
    if both := sorted(set(config.shard_addrs) & set(config.relay_addrs)):
        problems.append(f"SHARD_ADDRS and RELAY_ADDRS both name {', '.join(both)}")
    for name, most in (("candidates_per_shard", MAX_CANDIDATES), ("patterns_per_shard", _ANCHORS)):
        if (value := getattr(config, name)) > most:
            problems.append(f"{name.upper()}: must be at most {most}, got {value}")
    if problems:
        raise ConfigError("; ".join(problems))


def rules_of(config: FederationConfig) -> RoundRules:
    """Return the settings that decide what a round makes of what it heard."""
    return RoundRules(
        clusters=ClusterRules(
            limit=config.patterns_per_shard,
            min_devices=config.candidate_devices,
            min_shards=config.min_shards,
        ),
        gates=Gates(
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
        robust=config.robust_merge == "geometric_median",
    )


def pace_of(config: FederationConfig) -> Pace:
    """Return the settings that decide when rounds happen, and what they wait for."""
    return Pace(
        interval_seconds=config.federation_interval_secs,
        pull_timeout_seconds=config.pull_timeout_seconds,
        max_age_seconds=config.max_age_seconds,
        min_shards=config.min_shards,
        min_coverage=config.min_coverage,
        max_candidates=config.candidates_per_shard,
        relay=config.relay,
    )


@asynccontextmanager
async def open_rounds(config: FederationConfig) -> AsyncIterator[tuple[Rounds, Publisher]]:
    """Open the journal, and clients to every shard; nothing is asked of them yet."""
    require_sound(config)
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
        rounds = Rounds(Fleet(clients), journal, publisher, rules_of(config), pace_of(config))
        yield rounds, publisher


@asynccontextmanager
async def serve(config: FederationConfig) -> AsyncIterator[RunningFederation]:
    """Run one federation until the block is left. A failed task fails the block."""
    health = Health(SERVICES)
    await health.not_ready("waiting to become the active federation")
    async with AsyncExitStack() as stack:
        rounds, publisher = await stack.enter_async_context(open_rounds(config))
        metrics_port = stack.enter_context(
            metrics_served(config.metrics_addr, federation_metrics(rounds, publisher))
        )
        server, port = await _start(config, rounds, health)
        rest_port = await stack.enter_async_context(
            rest_served(config.rest_addr, local_address(config.grpc_addr, port), SERVICES)
        )
        ports = Ports(port, rest_port, metrics_port)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        log.info(
            "federation_started",
            port=ports.grpc,
            rest_port=ports.rest,
            metrics_port=ports.metrics,
            addresses=len(rounds.fleet.clients),
        )
        active = _be_active(config, rounds, publisher, health)
        working = tasks.create_task(active, name="active")
        try:
            yield RunningFederation(ports, rounds, publisher, health)
        finally:
            await health.not_ready("stopping")
            working.cancel()
            await server.stop(grace=1.0)
    log.info("federation_stopped")


async def _be_active(
    config: FederationConfig, rounds: Rounds, publisher: Publisher, health: Health
) -> None:
    """Wait to become the active federation; then run rounds until cancelled."""
    await rounds.resume()
    await health.ready()
    log.info("federation_active")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(rounds.hold_forever(), name="hold")
        tasks.create_task(publisher.catch_up_forever(config.catch_up_seconds), name="catch_up")
        if config.federation_interval_secs and not config.relay:
            tasks.create_task(rounds.run_forever(), name="rounds")


async def _start(
    config: FederationConfig, rounds: Rounds, health: Health
) -> tuple[grpc.aio.Server, int]:
    server = make_server(_MAX_CALLS)
    federation_pb2_grpc.add_FederationServiceServicer_to_server(FederationServicer(rounds), server)
    aggregates_pb2_grpc.add_AggregateServiceServicer_to_server(AggregateServicer(rounds), server)
    health_pb2_grpc.add_HealthServiceServicer_to_server(
        HealthServicer(health, partial(_parts, health, rounds)), server
    )
    serve_standard(server, health.servicer, SERVICES)
    port = bind(server, config.grpc_addr)
    await server.start()
    return server, port


def _parts(health: Health, rounds: Rounds) -> list[health_pb2.ComponentHealth]:
    known = len(rounds.fleet.aggregates)
    last = rounds.last
    return [
        health_pb2.ComponentHealth(
            name="shards",
            status=health_pb2.HEALTH_STATUS_HEALTHY
            if known or rounds.became_active.is_set()
            else health_pb2.HEALTH_STATUS_DEGRADED,
            message=f"{known} known behind {len(rounds.fleet.clients)} addresses",
        ),
        traffic(health, f"round {last.round_id} published" if last else "no round published yet"),
    ]
