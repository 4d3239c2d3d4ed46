from __future__ import annotations

import socket
import threading
import time
import urllib.request
from contextlib import ExitStack

import pytest
from prometheus_client import CollectorRegistry, Gauge

from constellation.errors import ConfigError
from constellation.telemetry.scrape_server import MAX_CONNECTIONS, serve_scrapes

ANY_PORT = "127.0.0.1:0"


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    Gauge("answer", "A number.", registry=registry).set(42)
    return registry


def scrape(port: int) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
        return str(response.read().decode())


def test_a_scrape_is_answered_beside_any_number_of_silent_connections(
    registry: CollectorRegistry,
) -> None:
    threads = threading.active_count()
    with serve_scrapes(ANY_PORT, registry) as port, ExitStack() as silent:
        for _ in range(5 * MAX_CONNECTIONS):
            silent.enter_context(socket.create_connection(("127.0.0.1", port)))

        assert "answer 42.0" in scrape(port)
        assert threading.active_count() <= threads + 2 * MAX_CONNECTIONS


def test_a_connection_that_sends_nothing_is_closed(registry: CollectorRegistry) -> None:
    with (
        serve_scrapes(ANY_PORT, registry, connection_seconds=0.01) as port,
        socket.create_connection(("127.0.0.1", port), timeout=5) as silent,
    ):
        started = time.monotonic()

        assert silent.recv(1) == b""
        assert time.monotonic() - started < 3


def test_a_taken_port_is_named(registry: CollectorRegistry) -> None:
    with (
        serve_scrapes(ANY_PORT, registry) as port,
        pytest.raises(ConfigError, match=f"METRICS_ADDR: cannot listen on 127.0.0.1:{port}"),
        serve_scrapes(f"127.0.0.1:{port}", registry),
    ):
        pass
