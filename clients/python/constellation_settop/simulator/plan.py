"""Plans: when each simulated device watches, and when it is on the network, in one day."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray

HOURS: Final = 24
PROFILES: Final[Mapping[str, Sequence[int]]] = {
    "evening-peak": (
        *(4, 2, 1, 1, 1, 1, 2, 4, 5, 5, 5, 6),
        *(8, 8, 7, 7, 8, 12, 20, 32, 40, 38, 26, 12),
    ),
    "weekend": (
        *(8, 5, 3, 2, 1, 1, 2, 4, 8, 12, 14, 15),
        *(16, 17, 18, 18, 18, 20, 24, 30, 34, 32, 26, 16),
    ),
    "flat": (1,) * HOURS,
}
"""How many views begin in each hour of the day, in relation to the other hours."""
_MIN_OFFLINE_HOURS, _MAX_OFFLINE_HOURS = 1.0, 8.0


@dataclass(frozen=True, slots=True)
class DayShape:
    """What a day of the simulated devices is like."""

    profile: str = "evening-peak"
    """Its name in PROFILES."""
    views_per_day: float = 4.0
    """Views of one device in a day on average."""
    churn: float = 0.05
    """Share of the devices that are new that day, and share that is never seen again."""
    offline: float = 0.2
    """Share of the devices that are without network for some hours."""


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """The day of one device. Times are fractions of the day, ascending."""

    spells: tuple[tuple[float, float], ...]
    """When it is on the network: begin and end of each spell."""
    views: tuple[float, ...]
    """When it watches, on the network or not, while it exists."""


def plan_device(random: Generator, shape: DayShape, ramp: float) -> DevicePlan:
    """Return the day of one device.

    Those that exist at the beginning connect within the first `ramp` of the day, because a whole
    fleet does not start in one moment.
    """
    begin, end = random.uniform(0, ramp), 1.0
    if random.random() < shape.churn:
        begin = random.uniform(ramp, 1.0)
    if random.random() < shape.churn:
        end = random.uniform(begin, 1.0)
    views = draw_times(random, shape, int(random.poisson(shape.views_per_day)))
    kept = tuple(float(at) for at in views if begin <= at < end)
    if random.random() >= shape.offline:
        return DevicePlan(((begin, end),), kept)
    lost_at = random.uniform(begin, end)
    hours = random.uniform(_MIN_OFFLINE_HOURS, _MAX_OFFLINE_HOURS)
    back_at = lost_at + hours / HOURS
    spells = ((begin, lost_at), (back_at, end)) if back_at < end else ((begin, lost_at),)
    return DevicePlan(spells, kept)


def draw_times(random: Generator, shape: DayShape, count: int) -> NDArray[np.float64]:
    """Return times of views, as fractions of the day, ascending."""
    weights = np.array(PROFILES[shape.profile], np.float64)
    hours = random.choice(HOURS, count, p=weights / weights.sum())
    times: NDArray[np.float64] = np.sort((hours + random.random(count)) / HOURS)
    return times
