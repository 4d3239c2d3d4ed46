"""`python -m benchmarks.publish`: commit figures of build/bench-report.json, and write the page.

A figure is published on purpose, after a run on a quiet machine: `make bench` alone changes no file
of the repository.
"""

from __future__ import annotations

import argparse

from benchmarks.capacity import Capacity, Fleet, format_capacity, load_costs
from benchmarks.figures import FILE, commit_figures, load_figures
from benchmarks.page import (
    CAPACITY_PAGE,
    COMMAND,
    PAGE,
    fence,
    format_all,
    format_carried,
    format_reach,
)
from benchmarks.plot import GROWTH_PICTURE, PICTURE, draw_growth, draw_reach
from benchmarks.report import REPORT, read_report
from testing.page_blocks import write_block


def main() -> None:
    """Publish what the named cases measured last, or all that is in the report."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=main.__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help="default: all in the report")
    wanted = set(parser.parse_args().cases)
    rows = [row for row in read_report() if not wanted or row["case"] in wanted]
    missing = wanted - {row["case"] for row in rows}
    if missing:
        parser.error(f"{REPORT} has no figures of {', '.join(sorted(missing))}")
    commit_figures(rows)
    figures = load_figures()
    write_block(PAGE, "carried", COMMAND, format_carried(figures))
    write_block(PAGE, "reach", COMMAND, format_reach(figures))
    write_block(PAGE, "figures", COMMAND, format_all(figures))
    capacity = Capacity(Fleet(), load_costs(figures))
    write_block(CAPACITY_PAGE, "capacity", COMMAND, fence(format_capacity(capacity)))
    PICTURE.write_bytes(draw_reach(figures))
    GROWTH_PICTURE.write_bytes(draw_growth(figures))
    print(f"{len(rows)} figures to {FILE} and {PAGE}, drawn to {PICTURE} and {GROWTH_PICTURE}")


if __name__ == "__main__":
    main()
