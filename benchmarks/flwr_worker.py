"""Measurement of Flower's weighted average of the same arrays, run as a separate process.

For each line on standard input, it averages once and prints the seconds. It runs in an environment
that has flwr and numpy, but not this project.
"""

from __future__ import annotations

import sys
import time

from flwr.server.strategy.aggregate import (  # type: ignore[import-not-found]  # not in this one
    aggregate,
)

from benchmarks.merge_arrays import make_shard_means, make_shard_weights


def main() -> None:
    """Answer each line until standard input ends."""
    results = [
        ([means], weight)
        for means, weight in zip(make_shard_means(), make_shard_weights(), strict=True)
    ]
    aggregate(results)
    for _ in sys.stdin:
        started = time.perf_counter()
        aggregate(results)
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main()
