"""`make bench`: measure, print a table, and write build/bench-report.json."""

from __future__ import annotations

from benchmarks import ingest, search
from benchmarks.report import REPORT, table, write


def main() -> None:
    """Run every benchmark, one after the other."""
    measurements = [*ingest.measure(), *search.measure()]
    write(measurements)
    print(table(measurements))
    print(f"written to {REPORT}")


if __name__ == "__main__":
    main()
