"""Run mutated inputs through a target, and keep those that it neither takes nor refuses."""

from __future__ import annotations

import signal
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

from tests.fuzz.mutations import mutate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fuzz.targets import Target

MAX_SECONDS: Final = 0.5
"""The time of the processor that an input may take; 5 ms is the aim, and a busy machine doubts."""
_HANG_SECONDS: Final = 20.0
_KEPT: Final = 10
_WARM_SHARE: Final = 4
"""A quarter of the inputs fills caches; after it, memory must not grow."""


@dataclass
class FuzzResult:
    """What a target made of its inputs."""

    inputs: int = 0
    taken: int = 0
    slowest_seconds: float = 0.0
    """Time of the processor for the slowest input."""
    warm_mib: float = 0.0
    """Memory of the process after a quarter of the inputs, and at the end."""
    final_mib: float = 0.0
    crashes: list[tuple[bytes, str]] = field(default_factory=list)
    """Inputs that raised what they may not, or hung, and what; at most ten."""


def fuzz(target: Target, inputs: int, seed: int) -> FuzzResult:
    """Run so many inputs. The same seed gives the same inputs."""
    random, result = Random(seed), FuzzResult()  # noqa: S311 - no secret
    for each in target.seeds:
        target.run(each)  # a valid input is taken
    for each in target.corpus:
        with suppress(*target.refusals):
            target.run(each)
    pool = (*target.seeds, *target.corpus)
    with _interrupt_hangs():
        while result.inputs < inputs and len(result.crashes) < _KEPT:
            _run_one(target, mutate(random.choice(pool), pool, random), result)
            if result.inputs == inputs // _WARM_SHARE:
                result.warm_mib = read_memory_mib()
    result.final_mib = read_memory_mib()
    return result


def _run_one(target: Target, data: bytes, result: FuzzResult) -> None:
    result.inputs += 1
    started = time.process_time()
    signal.setitimer(signal.ITIMER_REAL, _HANG_SECONDS)
    try:
        target.run(data)
        result.taken += 1
    except target.refusals:
        pass
    except Exception as error:  # noqa: BLE001 - any other error is what is looked for
        result.crashes.append((data, repr(error)))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    result.slowest_seconds = max(result.slowest_seconds, time.process_time() - started)


@contextmanager
def _interrupt_hangs() -> Iterator[None]:
    """Raise an error in an input that goes on for too long."""

    def interrupt(*_: Any) -> None:
        raise RuntimeError(f"it hangs: no end within {_HANG_SECONDS:g} s")

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def read_memory_mib() -> float:
    """Return the resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * 4096 / (1 << 20)
