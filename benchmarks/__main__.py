"""`make bench`: run cases, print a table, and write build/bench-report.json."""

from __future__ import annotations

import argparse
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks.case_modules import find_cases, needs_postgres, run_case
from benchmarks.report import REPORT, format_table, write_report
from constellation.blas import limit_blas_threads
from testing.postgres_server import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.report import Measurement


def main() -> None:
    """Run the named cases, or all of them, in turn. The report keeps the other results."""
    cases = find_cases()
    chosen = _make_parser(cases).parse_args().cases or list(cases)
    limit_blas_threads()
    measurements: list[Measurement] = []
    with _open_postgres(is_needed=any(map(needs_postgres, chosen))) as server:
        for case in chosen:
            lines = run_case(case, server)
            write_report(
                lines, case=case
            )  # at once, so that a case that fails later takes nothing away
            measurements += lines
    print(format_table(measurements))
    print(f"written to {REPORT}")


def _make_parser(cases: Mapping[str, str]) -> argparse.ArgumentParser:
    width = max(map(len, cases))
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=main.__doc__,
        epilog="cases:\n" + "\n".join(f"  {case:{width}}  {cases[case]}" for case in cases),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "cases", nargs="*", choices=[[], *cases], metavar="CASE", help="default: all"
    )
    return parser


@contextmanager
def _open_postgres(*, is_needed: bool) -> Iterator[PostgresServer | None]:
    if not is_needed:
        yield None
        return
    with PostgresServer.open() as server:
        server.execute("CREATE EXTENSION vector", "template1")
        yield server


if __name__ == "__main__":
    main()
