from __future__ import annotations

import os
import time

import numpy as np
import pytest

from benchmarks.processes import (
    measure_cpu,
    read_busy_seconds,
    read_cpu_seconds,
    read_own_seconds,
    read_resident_bytes,
)


def test_the_clock_of_this_process_is_that_of_python() -> None:
    before = time.process_time()
    read = read_cpu_seconds(os.getpid())

    assert before <= read <= time.process_time()


def test_work_takes_processor_time() -> None:
    with measure_cpu(os.getpid()) as clock:
        until = time.process_time() + 0.05
        while time.process_time() < until:
            pass

    assert 0.05 <= clock.seconds < 5


def test_what_others_use_is_the_rest_of_the_machine() -> None:
    before = read_busy_seconds(), read_own_seconds()
    until = time.process_time() + 0.2
    while time.process_time() < until:
        pass
    busy, own = read_busy_seconds() - before[0], read_own_seconds() - before[1]

    assert own > 0.15  # the kernel counts in ticks of a hundredth of a second
    assert busy >= own - 0.1


def test_memory_that_is_used_counts() -> None:
    before = read_resident_bytes(os.getpid())
    array = np.ones(8 << 20, np.uint8)

    assert read_resident_bytes(os.getpid()) - before == pytest.approx(len(array), rel=0.3)


def test_a_process_that_is_gone_has_no_clock() -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        read_cpu_seconds(2**22 + 1)
