"""What a process uses: its processor time and its memory, from the kernel's own accounting."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_ALL_THREADS: Final = 2
"""CPUCLOCK_SCHED of Linux: the time in which any thread of the process ran, in nanoseconds."""

_IDLE_SHARE: Final = 0.1
_SAMPLE_SECONDS: Final = 0.25
_CALM_SECONDS: Final = 2.0


def read_cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used, in all its threads that ever were."""
    return time.clock_gettime((~pid << 3) | _ALL_THREADS)


def read_own_seconds() -> float:
    """Return the processor time of this process and of all its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def read_busy_seconds() -> float:
    """Return the processor time that all programs have used since the machine started."""
    first = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    ticks = [int(each) for each in first]
    idle = ticks[3] + ticks[4]  # idle, and waiting for a disk
    return (sum(ticks) - idle) / os.sysconf("SC_CLK_TCK")


def read_resident_bytes(pid: int) -> int:
    """Return the memory that a process has in RAM and shares with no other, in bytes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) * 1024


def wait_until_idle(pid: int) -> None:
    """Return once a process has used less than a tenth of a core for two seconds."""
    before, calm_since = read_cpu_seconds(pid), time.monotonic()
    while time.monotonic() - calm_since < _CALM_SECONDS:
        time.sleep(_SAMPLE_SECONDS)
        used, before = read_cpu_seconds(pid) - before, read_cpu_seconds(pid)
        if used > _IDLE_SHARE * _SAMPLE_SECONDS:
            calm_since = time.monotonic()


class CpuClock:
    """Measures the processor time that a process uses from now on."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._before = read_cpu_seconds(pid)
        self.seconds = 0.0
        """What the process used in the block of `measure_cpu`."""

    def read(self) -> float:
        """Return the processor time that was used until now, in seconds."""
        return read_cpu_seconds(self._pid) - self._before


@contextmanager
def measure_cpu(pid: int) -> Iterator[CpuClock]:
    """Measure the processor time that a process uses during the block."""
    clock = CpuClock(pid)
    yield clock
    clock.seconds = clock.read()
