"""Free TCP ports on loopback, for servers that must be found at a known address."""

from __future__ import annotations

import socket


def find_free_port() -> int:
    """Return a port on which nothing listened a moment ago.

    Another process may take it first. A server that can report its port should use port 0 instead.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def find_free_address() -> str:
    """Return a loopback address with a free port, as `host:port`."""
    return f"127.0.0.1:{find_free_port()}"
