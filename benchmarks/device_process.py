"""A whole set-top device in a process of its own, whose opening, memory and calls are timed.

`python -m benchmarks.device_process DATA_DIR` prints the figures as JSON. OPENBLAS_NUM_THREADS=1
must be set, so that the time of this thread is all the time there is.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation_settop import Device, DeviceSettings, View

if TYPE_CHECKING:
    from collections.abc import Callable

NOWHERE: Final = "127.0.0.1:9"
SEED: Final = 1
REWARDS: Final = (0.1, 0.6, 0.8, 0.95)
LIMIT: Final = 20
_ROUNDS: Final = 200


async def measure(data_dir: Path) -> dict[str, float]:
    """Open a device without network, let it idle, and time its calls."""
    random = Random(SEED)  # noqa: S311  # not numpy's, which would count as the device's memory
    started = time.thread_time()
    async with Device.open(
        NOWHERE, data_dir=data_dir, settings=DeviceSettings(delta_interval_seconds=3600)
    ) as device:
        opened_ms = (time.thread_time() - started) * 1000
        await asyncio.sleep(0.5)  # idle: connecting fails, and it waits for the next attempt
        idle_memory = _read_mib("VmRSS")
        first_ms = _time_ms(lambda: device.recommend(limit=LIMIT))
        content_ids = device.brain.catalogue.content_ids

        def observe() -> None:
            content_id = content_ids[random.randrange(len(content_ids))]
            device.observe(View(content_id, random.choice(REWARDS), watched_at=1e9))

        observing, recommending = [], []
        for _ in range(_ROUNDS):
            observing.append(_time_ms(observe))
            recommending.append(_time_ms(lambda: device.recommend(limit=LIMIT)))
    return {
        "open_ms": opened_ms,
        "first_recommend_ms": first_ms,
        "idle_memory_mib": idle_memory,
        "peak_memory_mib": _read_mib("VmHWM"),
        "observe_p99_ms": float(np.quantile(observing, 0.99)),
        "recommend_p99_ms": float(np.quantile(recommending, 0.99)),
    }


def _time_ms(work: Callable[[], object]) -> float:
    """Return the milliseconds of this thread: other processes do not count."""
    started = time.thread_time()
    work()
    return (time.thread_time() - started) * 1000


def _read_mib(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(name))) / 1024


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(Path(sys.argv[1])))))
