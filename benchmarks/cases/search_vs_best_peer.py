"""Search among 100,000 shared patterns, compared with hnswlib, Qdrant, Redis and pgvector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.search_peers import PACKAGES
from benchmarks.search_runs import compare_with_peers

if TYPE_CHECKING:
    from benchmarks.report import Measurement
    from testing.postgres_server import PostgresServer

_PATTERNS: Final = 100_000


def measure(server: PostgresServer) -> list[Measurement]:
    """Return queries for each second of processor time, ours beside each peer's."""
    url = server.create_database("search_peer")
    try:
        return compare_with_peers(_PATTERNS, list(PACKAGES), url, "")
    finally:
        server.drop_database("search_peer")
