"""`make bench`: run benchmarks, print a table, and write build/bench-report.json."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from benchmarks import (
    bloat,
    fairness,
    federation,
    ingest,
    ingest_liked,
    liked_pairs,
    recommending,
    related,
    restart,
    search,
    secure,
    sync,
    telemetry,
    tokens,
)
from benchmarks.report import REPORT, Measurement, format_table, write_report
from constellation.blas import limit_blas_threads
from testing.postgres_server import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

GROUPS: Final[dict[str, Callable[[PostgresServer], Sequence[Measurement]]]] = {
    "ingest": ingest.measure,
    "liked": lambda server: [*ingest_liked.measure(server), *liked_pairs.measure()],
    "secure": lambda _: secure.measure(),
    "fairness": lambda _: fairness.measure(),
    "tokens": lambda _: tokens.measure(),
    "sync": sync.measure,
    "bloat": bloat.measure,
    "restart": restart.measure,
    "search": lambda _: search.measure(),
    "federation": lambda _: federation.measure(),
    "related": lambda _: related.measure(),
    "recommending": lambda _: recommending.measure(),
    "telemetry": lambda _: telemetry.measure(),
}


def main() -> None:
    """Run the named benchmarks, or all of them, in turn. The report keeps the other results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    parser.add_argument("groups", nargs="*", choices=[[], *GROUPS], help="default: all")
    chosen = parser.parse_args().groups or list(GROUPS)
    limit_blas_threads()
    with PostgresServer.open() as server:
        server.execute("CREATE EXTENSION vector", "template1")
        measurements = [line for group in chosen for line in GROUPS[group](server)]
    write_report(measurements)
    print(format_table(measurements))
    print(f"written to {REPORT}")


if __name__ == "__main__":
    main()
