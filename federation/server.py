"""The composition root: builds one federation from its parts, runs it and stops it."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import grpc
import structlog
from cryptography import x509

from constellation.auth.files import read_limited
from constellation.auth.revocations import RevokedDevices
from constellation.auth.token_files import read_token_file
from constellation.blas import limit_blas_threads
from constellation.errors import ConfigError
from constellation.loopback import is_loopback
from constellation.storage.postgres.dialect import DIALECTS
from constellation.telemetry.call_metrics import (
    make_call_histograms,
    make_call_metrics,
    make_certificate_metric,
)
from constellation.telemetry.logs import get_log_level, set_log_level
from constellation.telemetry.metrics import serve_metrics
from constellation.telemetry.traces import export_traces
from constellation.transport.calls.counters import CallStats
from constellation.transport.health.service import Health
from constellation.transport.listener import COMMON_SERVICES, ListenerConfig, Ports, open_listener
from constellation.transport.security import Security, open_key_file, open_security
from constellation.transport.services.process import ProcessServicer
from constellation.v1 import (
    aggregates_pb2,
    aggregates_pb2_grpc,
    federation_pb2,
    federation_pb2_grpc,
)
from constellation.wall_clock import require_plausible_clock
from federation.health import describe_components
from federation.journal.open import open_journal
from federation.merge.codebook import ClusterRules
from federation.merge.published_clusters import PublishRules
from federation.merge.result import RoundRules
from federation.merge.trends import TrendRules
from federation.metrics import (
    make_federation_histograms,
    make_federation_metrics,
    make_health_metric,
    make_privacy_metrics,
)
from federation.privacy.open import open_privacy
from federation.related.result import RelatedRules
from federation.round_policy import RoundPolicy
from federation.rounds import Rounds
from federation.service import FederationServicer, RelayServicer
from federation.shards.client import ShardClient
from federation.shards.fleet import Fleet
from federation.shards.publisher import Publisher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from constellation.auth.certificates import Certificates
    from constellation.auth.global_signatures import HeaderVerifier
    from constellation.transport.listener import DeferredServices
    from federation.config import FederationConfig

log = structlog.get_logger(__name__)

SERVICES: Final = (
    federation_pb2.DESCRIPTOR.services_by_name["FederationService"].full_name,
    aggregates_pb2.DESCRIPTOR.services_by_name["AggregateService"].full_name,
)
_MEMORY_PROBLEM: Final = (
    "all rounds are lost when this process ends: set DATA_DIR or POSTGRES_URL to keep them"
)
_MAX_CALLS: Final = 256
"""Calls that are served at the same time."""


@dataclass(frozen=True, slots=True)
class RunningFederation:
    """A federation that serves; it may still be waiting to become the active one."""

    ports: Ports
    rounds: Rounds
    publisher: Publisher
    health: Health

    @property
    def port(self) -> int:
        """The port of gRPC."""
        return self.ports.grpc


def check_config(config: FederationConfig) -> None:
    """Raise ConfigError, naming every problem, if a federation cannot run with these settings."""
    problems = []
    if not config.shard_addrs and not config.relay_addrs:
        problems.append("SHARD_ADDRS or RELAY_ADDRS is required")
    if both := sorted(set(config.shard_addrs) & set(config.relay_addrs)):
        problems.append(f"SHARD_ADDRS and RELAY_ADDRS both name {', '.join(both)}")
    if config.privacy_epsilon:
        problems += _find_privacy_problems(config)
    if config.token_file is not None:
        read_token_file(config.token_file)
        if config.tls_ca is None and not config.insecure:
            addresses = [*config.shard_addrs, *config.relay_addrs]
            problems += [
                f"the token of TOKEN_FILE would go to {address} in clear text: set TLS_CA"
                for address in addresses
                if not is_loopback(address)
            ][:1]
    if problems:
        raise ConfigError("; ".join(problems))


def _find_privacy_problems(config: FederationConfig) -> list[str]:
    problems = []
    if config.relay:
        problems.append(
            "PRIVACY_EPSILON is for the federation that runs the rounds, but RELAY is 1"
        )
    if config.data_dir is None and config.postgres_url is None:
        problems.append(
            "PRIVACY_EPSILON needs DATA_DIR or POSTGRES_URL: a journal in memory forgets "
            "at its end what was spent"
        )
    if not config.privacy_delta:
        problems.append("PRIVACY_DELTA must be above 0")
    return problems


def _read_authorities(path: Path) -> bytes:
    """Return the CA certificates of TLS_CA. Raises ConfigError."""
    try:
        authorities = read_limited(path)
        x509.load_pem_x509_certificates(authorities)
    except OSError as error:
        raise ConfigError(f"TLS_CA: cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"TLS_CA: {path} has no PEM certificates: {error}") from error
    return authorities


def _make_credentials(
    authorities: Path | None, certificates: Certificates | None
) -> grpc.ChannelCredentials | None:
    """Return how to connect to shards; None for clear text. Raises ConfigError.

    The federation presents its own certificate, which shards with CLIENT_CA ask for.
    """
    if authorities is None:
        return None
    if certificates is None:
        return grpc.ssl_channel_credentials(_read_authorities(authorities))
    return certificates.to_channel_credentials(_read_authorities(authorities))


def to_round_rules(config: FederationConfig) -> RoundRules:
    """Return the settings that decide the result of a round."""
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
        related=RelatedRules(
            interval_seconds=config.related_interval_secs,
            dictionary_limit=config.related_contents,
            neighbour_limit=config.related_neighbours,
            regularisation=config.related_lambda,
            min_households=config.global_k_anonymity,
        ),
        reanchor_hours=config.reanchor_hours,
        is_robust=config.robust_merge == "geometric_median",
    )


def to_round_policy(config: FederationConfig) -> RoundPolicy:
    """Return the settings that decide when rounds run and what they require."""
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
    """Export the spans of this process until the block is left, to where OTEL_… variables say."""
    return export_traces("constellation-federation", {"constellation.region": config.region})


@asynccontextmanager
async def open_rounds(
    config: FederationConfig, certificates: Certificates | None
) -> AsyncIterator[tuple[Rounds, Publisher]]:
    """Open the journal and a client for every shard. No call is made yet.

    `certificates` are what the federation presents to shards; None: it has no certificate.
    Raises ConfigError for settings that cannot work, NotReadyError if the journal is unavailable.
    """
    check_config(config)
    require_plausible_clock()
    limit_blas_threads()
    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(
            open_journal(config.data_dir, config.postgres_url, DIALECTS[config.vector_extension])
        )
        credentials = _make_credentials(config.tls_ca, certificates)
        signing_keys = open_key_file(config.signing_keys, "SIGNING_KEYS")
        clients = [
            await stack.enter_async_context(
                ShardClient.open(
                    address,
                    is_relay=is_relay,
                    credentials=credentials,
                    token_file=config.token_file,
                    signing_keys=signing_keys,
                )
            )
            for addresses, is_relay in ((config.shard_addrs, False), (config.relay_addrs, True))
            for address in addresses
        ]
        publisher = Publisher(clients, config.publish_timeout_seconds)
        rounds = Rounds(
            Fleet(clients),
            journal,
            publisher,
            to_round_rules(config),
            to_round_policy(config),
            RevokedDevices(config.revoked_devices),
            open_privacy(config.privacy_epsilon, config.privacy_delta),
            signing_keys,
        )
        yield rounds, publisher


@asynccontextmanager
async def serve(config: FederationConfig) -> AsyncIterator[RunningFederation]:
    """Run one federation until the block is left. If a background task fails, the block fails.

    Its ports are open from the start. Its services answer once the journal is open.
    """
    check_config(config)
    require_plausible_clock()
    health, calls = Health((*SERVICES, *COMMON_SERVICES)), CallStats()
    security = open_security(config)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(export_federation_traces(config))
        metrics = stack.enter_context(serve_metrics(config.metrics_addr))
        metrics.add(
            [
                make_health_metric(lambda: not health.reason),
                make_certificate_metric(security.read_expiry),
                *make_call_metrics(calls),
            ],
            make_call_histograms(calls),
        )
        process = ProcessServicer(get_log_level, set_log_level)
        if config.postgres_url is None and config.data_dir is None:
            log.warning("journal_in_memory", problem=_MEMORY_PROBLEM)
        listener = await stack.enter_async_context(
            open_listener(_to_listener_config(config, security), health, process, calls)
        )
        rounds, publisher = await stack.enter_async_context(
            open_rounds(config, security.certificates)
        )
        metrics.add(
            make_federation_metrics(rounds, publisher, config.federation_interval_secs),
            make_federation_histograms(rounds),
        )
        if rounds.privacy is not None:
            metrics.add(make_privacy_metrics(rounds.privacy))
        health.report_components(
            partial(
                describe_components,
                health,
                rounds,
                config.federation_interval_secs,
                security.describe,
            )
        )
        _add_services(listener.services, rounds, security.make_header_verifier())
        health.mark_not_ready("waiting to become the active federation")
        ports = Ports(listener.grpc_port, listener.rest_port, metrics.port, listener.probe_port)
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
            await listener.stop(grace=1.0)
            await rounds.requested.cancel()
    log.info("federation_stopped")


def _to_listener_config(config: FederationConfig, security: Security) -> ListenerConfig:
    return ListenerConfig(
        grpc_addr=config.grpc_addr,
        rest_addr=config.rest_addr,
        probe_addr=config.probe_addr,
        certificates=security.certificates,
        verifier=security.verifier,
        services=SERVICES,
        max_calls=_MAX_CALLS,
    )


async def _run_active(
    config: FederationConfig, rounds: Rounds, publisher: Publisher, health: Health
) -> None:
    """Wait to become the active federation, then run rounds until cancelled."""
    await rounds.resume()
    health.mark_ready()
    log.info("federation_active")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(rounds.stay_active_forever(), name="stay_active")
        tasks.create_task(publisher.catch_up_forever(config.catch_up_seconds), name="catch_up")
        if config.federation_interval_secs and not config.relay:
            tasks.create_task(rounds.run_forever(), name="rounds")


def _add_services(
    services: DeferredServices, rounds: Rounds, verifier: HeaderVerifier | None
) -> None:
    server: Any = services  # has the one method of a server that the generated functions call
    federation_pb2_grpc.add_FederationServiceServicer_to_server(FederationServicer(rounds), server)
    aggregates_pb2_grpc.add_AggregateServiceServicer_to_server(
        RelayServicer(rounds, verifier), server
    )
