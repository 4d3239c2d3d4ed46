"""`make fuzz`: run many inputs through every target, and print what became of them."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from tests.fuzz.corpus import grow_corpus
from tests.fuzz.run import MAX_SECONDS, fuzz
from tests.fuzz.targets import open_targets

if TYPE_CHECKING:
    from tests.fuzz.targets import Target

MAX_GROWTH_MIB: Final = 32
"""How much more memory the process may have at the end of a target than after a quarter of it."""


def main() -> int:
    """Run the inputs; return 1 when one crashed a decoder or hung, or memory kept growing."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=main.__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="in all (%(default)s)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: the time")
    parser.add_argument("--target", help="only this one; default: all")
    parser.add_argument(
        "--grow", action="store_true", help="add inputs that reach new lines to the corpus instead"
    )
    options = parser.parse_args()
    logging.disable()  # devices and snapshots tell of each input that they refuse
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory() as folder, open_targets(Path(folder)) as targets:
        chosen = [each for each in targets if options.target in {None, each.name}]
        share = options.inputs // max(len(chosen), 1)
        if options.grow:
            for target in chosen:
                added = grow_corpus(target, share, options.seed)
                print(f"{target.name}: {added} inputs added", flush=True)
            return 0
        passed = [run_target(target, share, options.seed) for target in chosen]
    print(f"seed {options.seed}")
    return int(not passed or not all(passed))


def run_target(target: Target, inputs: int, seed: int) -> bool:
    """Run one target and print what became of it; return whether it passed."""
    started = time.monotonic()
    result = fuzz(target, inputs, seed)
    rate = result.inputs / (time.monotonic() - started)
    print(
        f"{target.name}: {result.inputs:,} inputs ({rate:,.0f}/s), {result.taken:,} taken, "
        f"{len(result.crashes)} crashes, slowest {result.slowest_seconds * 1e3:.0f} ms, "
        f"memory {result.warm_mib:.0f} to {result.final_mib:.0f} MiB",
        flush=True,
    )
    for data, error in result.crashes:
        print(f"  {error[:300]}\n  {data!r}")
    has_grown = result.final_mib - result.warm_mib > MAX_GROWTH_MIB
    return not result.crashes and not has_grown and result.slowest_seconds < MAX_SECONDS


if __name__ == "__main__":
    sys.exit(main())
