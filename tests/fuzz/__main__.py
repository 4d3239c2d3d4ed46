"""`make fuzz`: run many inputs through every target, and print what became of them."""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.run import fuzz
from tests.fuzz.targets import make_targets


def main() -> int:
    """Run the inputs; return 1 when one crashed a decoder."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=main.__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="in all (%(default)s)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: the time")
    options = parser.parse_args()
    has_crashed = False
    with tempfile.TemporaryDirectory() as folder:
        targets = make_targets(Path(folder))
        for target in targets:
            before, started = _read_peak_mib(), time.monotonic()
            result = fuzz(target, options.inputs // len(targets), options.seed)
            rate = result.inputs / (time.monotonic() - started)
            print(
                f"{target.name}: {result.inputs:,} inputs ({rate:,.0f}/s), {result.taken:,} taken, "
                f"{len(result.crashes)} crashes, slowest {result.slowest_seconds * 1e3:.0f} ms, "
                f"memory {before:.0f} to {_read_peak_mib():.0f} MiB",
                flush=True,
            )
            for data, error in result.crashes:
                print(f"  {error[:300]}\n  {data!r}")
            has_crashed |= bool(result.crashes)
    print(f"seed {options.seed}")
    return int(has_crashed)


def _read_peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
