"""Flower's weighted average of the same arrays: once for each line read, answered by its seconds.

Runs in an environment of its own, which has flwr and numpy and nothing of this project.
"""

from __future__ import annotations

import sys
import time

from flwr.server.strategy.aggregate import (  # type: ignore[import-not-found]  # not in this one
    aggregate,
)

from benchmarks.merge_arrays import make_shard_means, make_shard_weights


def main() -> None:
    """Answer until there are no more lines."""
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
