"""Run mutated inputs through a target, and keep those that it neither takes nor refuses."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Final

from tests.fuzz.mutations import mutate

if TYPE_CHECKING:
    from tests.fuzz.targets import Target

MAX_SECONDS: Final = 0.5
"""An input that takes longer hangs."""
_KEPT: Final = 10


@dataclass
class FuzzResult:
    """What a target made of its inputs."""

    inputs: int = 0
    taken: int = 0
    slowest_seconds: float = 0.0
    crashes: list[tuple[bytes, str]] = field(default_factory=list)
    """Inputs that raised what they may not, and what; at most ten."""


def fuzz(target: Target, inputs: int, seed: int) -> FuzzResult:
    """Run so many inputs. The same seed gives the same inputs."""
    random, result = Random(seed), FuzzResult()  # noqa: S311 - no secret
    for each in target.seeds:
        target.run(each)  # a valid input is taken
    while result.inputs < inputs and len(result.crashes) < _KEPT:
        data = mutate(random.choice(target.seeds), target.seeds, random)
        result.inputs += 1
        started = time.perf_counter()
        try:
            target.run(data)
            result.taken += 1
        except target.refusals:
            pass
        except Exception as error:  # noqa: BLE001 - any other error is what is looked for
            result.crashes.append((data, repr(error)))
        result.slowest_seconds = max(result.slowest_seconds, time.perf_counter() - started)
    return result
