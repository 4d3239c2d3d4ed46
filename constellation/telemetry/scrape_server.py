"""ScrapeServer: answers Prometheus over HTTP, with a bounded number of connections and threads."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager, suppress
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import make_wsgi_app

from constellation.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import CollectorRegistry

MAX_CONNECTIONS: Final = 16
"""One more closes the one that has been open longest."""
CONNECTION_SECONDS: Final = 10.0
"""A connection lives no longer, whatever it sends: Prometheus waits as long for an answer."""
_POLL_SECONDS: Final = 0.5


@contextmanager
def serve_scrapes(
    address: str,
    registry: CollectorRegistry,
    *,
    max_connections: int = MAX_CONNECTIONS,
    connection_seconds: float = CONNECTION_SECONDS,
) -> Iterator[int]:
    """Answer scrapes at `address` (host:port) until the block is left; yields the port.

    Each connection has a thread, so that a busy event loop does not hold up a scrape. Raises
    ConfigError when the address cannot be listened at.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    kind = _ScrapeServer6 if ":" in host else _ScrapeServer
    try:
        opened = kind((host, int(port)), _SilentHandler)
    except OSError as error:
        raise ConfigError(
            f"METRICS_ADDR: cannot listen on {address}: {error.strerror or error}"
        ) from error
    with opened as server:
        server.max_connections = max_connections
        server.connection_seconds = connection_seconds
        server.set_app(make_wsgi_app(registry))
        thread = threading.Thread(
            target=server.serve_forever, args=(_POLL_SECONDS,), name="metrics", daemon=True
        )
        thread.start()
        try:
            yield int(server.server_port)
        finally:
            server.shutdown()
            server.close_connections()
            thread.join()


class _SilentHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the library
        """Log nothing."""


class _ScrapeServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    max_connections = MAX_CONNECTIONS
    connection_seconds = CONNECTION_SECONDS

    def __init__(self, *args: Any) -> None:
        self._lock = threading.Lock()
        self._opened_at: dict[socket.socket, float] = {}
        """The open connections, the oldest first."""
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            oldest = next(iter(self._opened_at), None)
            if oldest is not None and len(self._opened_at) >= self.max_connections:
                del self._opened_at[oldest]
                _cut(oldest)
            self._opened_at[request] = time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._opened_at.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Cut connections that are open for too long; called at every poll."""
        oldest = time.monotonic() - self.connection_seconds
        with self._lock:
            overdue = [each for each, opened_at in self._opened_at.items() if opened_at < oldest]
            for connection in overdue:
                _cut(connection)

    def close_connections(self) -> None:
        """Cut every connection."""
        with self._lock:
            for connection in self._opened_at:
                _cut(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore what a connection that was cut, or went away, raises in its thread."""


class _ScrapeServer6(_ScrapeServer):
    address_family = socket.AF_INET6


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):  # it has gone by itself
        connection.shutdown(socket.SHUT_RDWR)
