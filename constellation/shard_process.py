"""ShardProcess: what the process of a shard has before its shard is recovered."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from constellation.telemetry.call_metrics import (
    make_call_histograms,
    make_call_metrics,
    make_certificate_metric,
)
from constellation.telemetry.logs import get_log_level, set_log_level
from constellation.telemetry.metrics import serve_metrics
from constellation.telemetry.shard_metrics import (
    make_shard_health_metric,
)
from constellation.transport.calls.counters import CallStats
from constellation.transport.health.service import Health
from constellation.transport.listener import COMMON_SERVICES, ListenerConfig, Ports, open_listener
from constellation.transport.security import (
    Security,
    open_internal_certificates,
    open_security,
    open_token_issuer,
)
from constellation.transport.services.process import ProcessServicer
from constellation.v1 import (
    aggregates_pb2,
    auth_pb2,
    shard_pb2,
    sync_pb2,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from constellation.auth.enrolment import TokenIssuer
    from constellation.config import ShardConfig
    from constellation.telemetry.metrics import MetricsExporter
    from constellation.transport.listener import Listener


SERVICES: Final = (
    sync_pb2.DESCRIPTOR.services_by_name["SyncService"].full_name,
    shard_pb2.DESCRIPTOR.services_by_name["ShardService"].full_name,
    aggregates_pb2.DESCRIPTOR.services_by_name["AggregateService"].full_name,
    auth_pb2.DESCRIPTOR.services_by_name["AuthService"].full_name,
)

_EXTRA_CALLS: Final = 256
"""Calls that the listener admits in addition to MAX_STREAMS."""
_CONNECTION_SHARE: Final = 1.2
"""The age of a connection, as a share of that of a stream, so that streams end in order first.

gRPC varies it by a tenth."""


class DrainRequest:
    """A request of the API's Drain to shut this shard down; it may come once or several times."""

    def __init__(self) -> None:
        self.received = asyncio.Event()
        self.spread_seconds: float | None = None

    def request(self, seconds: float | None) -> None:
        """Ask for a drain that is spread over this many seconds; None means DRAIN_SECONDS."""
        self.spread_seconds = seconds
        self.received.set()


@dataclass(frozen=True, slots=True)
class ShardProcess:
    """What a process has before its shard is recovered: open ports, health, metrics, counters."""

    listener: Listener
    ports: Ports
    health: Health
    metrics: MetricsExporter
    calls: CallStats
    security: Security
    issuer: TokenIssuer | None
    """Gives tokens to devices; None without VENDOR_KEYS."""
    drain: DrainRequest


@asynccontextmanager
async def open_process(config: ShardConfig) -> AsyncIterator[ShardProcess]:
    """Open the ports of the process: health, metrics and the log level answer at once."""
    health, calls = Health((*SERVICES, *COMMON_SERVICES)), CallStats()
    security = open_security(config)
    issuer = open_token_issuer(config, security)
    with serve_metrics(config.metrics_addr) as metrics:
        metrics.add(
            [
                make_shard_health_metric(config.shard_id, lambda: not health.reason),
                make_certificate_metric(security.read_expiry),
                *make_call_metrics(calls),
            ],
            make_call_histograms(calls),
        )
        log_levels = ProcessServicer(get_log_level, set_log_level)
        listener = _to_listener_config(config, security)
        async with open_listener(listener, health, log_levels, calls) as opened:
            ports = Ports(
                opened.grpc_port,
                opened.rest_port,
                metrics.port,
                opened.probe_port,
                opened.internal_port,
            )
            yield ShardProcess(
                opened, ports, health, metrics, calls, security, issuer, DrainRequest()
            )


def _to_listener_config(config: ShardConfig, security: Security) -> ListenerConfig:
    return ListenerConfig(
        grpc_addr=config.grpc_addr,
        rest_addr=config.rest_addr,
        internal_addr=config.internal_addr,
        internal_certificates=open_internal_certificates(config),
        probe_addr=config.probe_addr,
        certificates=security.certificates,
        trusted_proxies=config.trusted_proxies,
        verifier=security.verifier,
        services=SERVICES,
        max_calls=config.max_streams + _EXTRA_CALLS,
        max_streams_per_connection=config.max_streams_per_connection,
        connection_seconds=config.stream_seconds * _CONNECTION_SHARE,
    )
