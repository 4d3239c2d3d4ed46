"""`make attack`: attack a fleet that protects nobody, and one that does."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Final

import uvloop

from attacks.report import (
    PAGE,
    REPORT,
    format_table,
    load_figures,
    save_figures,
    write_page,
    write_report,
)
from attacks.suite import ATTACKS, SHORT_ATTACKS, run_suite
from constellation.blas import limit_blas_threads
from quality.short import select_short

HOUSEHOLDS: Final = 200
"""Those that watch the least, because their patterns are the easiest to decode."""
SHORT_HOUSEHOLDS: Final = 60


def main() -> None:
    """Run every attack, and fail when one succeeds that must not.

    An attack must also succeed where nothing protects, so that it is known to work.
    """
    parser = argparse.ArgumentParser(prog="python -m attacks", description=main.__doc__)
    parser.add_argument(
        "--short", action="store_true", help="few households, as in `make check`; writes no page"
    )
    arguments = parser.parse_args()
    limit_blas_threads()
    started = time.monotonic()
    households = select_short()[: SHORT_HOUSEHOLDS if arguments.short else HOUSEHOLDS]
    lines = uvloop.run(run_suite(households, SHORT_ATTACKS if arguments.short else ATTACKS))
    write_report(lines)
    print(format_table(lines))
    print(f"written to {REPORT}, took {time.monotonic() - started:.0f} s")
    if not arguments.short:
        save_figures(len(households), lines)
        write_page(*load_figures())
        print(f"written to {PAGE}")
    if not all(line.is_proven and line.is_held for line in lines):
        sys.exit("an attack succeeded that must not, or failed where nothing protects")
