"""Pressure: how full memory and disk are, and what the shard refuses because of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

log = structlog.get_logger(__name__)

CHECK_SECONDS: Final = 1.0
_HYSTERESIS: Final = 0.03
"""A level ends when usage is this much below the share at which it began."""


class PressureLevel(IntEnum):
    """What is refused; each level refuses what those below it do."""

    NONE = 0
    NO_NEW_DEVICES = 1
    """Devices that the shard does not know."""
    NO_SESSIONS = 2
    """Every new stream, and every unary call of a device."""
    NO_DELTAS = 3
    """Open streams are not read."""


@dataclass(frozen=True, slots=True)
class Resource:
    """What can run out, and the shares of it at which levels begin."""

    name: str
    read_share: Callable[[], float]
    """Returns the share that is used, from 0 to 1."""
    thresholds: Sequence[tuple[float, PressureLevel]]
    """In ascending order."""


MEMORY_THRESHOLDS: Final = (
    (0.85, PressureLevel.NO_NEW_DEVICES),
    (0.92, PressureLevel.NO_SESSIONS),
    (0.95, PressureLevel.NO_DELTAS),
)
DISK_THRESHOLDS: Final = (
    (0.90, PressureLevel.NO_NEW_DEVICES),
    (0.95, PressureLevel.NO_DELTAS),
)


class Pressure:
    """The highest level of all resources. Without resources there is none."""

    def __init__(self, resources: Sequence[Resource] = ()) -> None:
        self._resources = resources
        self._levels = dict.fromkeys((each.name for each in resources), PressureLevel.NONE)
        self.level = PressureLevel.NONE
        self.cause = ""
        """Which resource is how full, for messages; empty without pressure."""

    def measure(self) -> bool:
        """Look at all resources, and return whether the level has changed."""
        before = self.level
        self.level, self.cause = PressureLevel.NONE, ""
        for resource in self._resources:
            share = resource.read_share()
            level = _find_level(resource.thresholds, share, self._levels[resource.name])
            self._levels[resource.name] = level
            if level > self.level:
                self.level, self.cause = level, f"{resource.name} is {share:.0%} full"
        return self.level != before

    async def watch_forever(self, on_change: Callable[[PressureLevel], object]) -> None:
        """Measure each second. Runs until cancelled."""
        while True:
            if self.measure():
                log.warning("pressure_changed", level=self.level.name.lower(), cause=self.cause)
                on_change(self.level)
            await asyncio.sleep(CHECK_SECONDS)


def _find_level(
    thresholds: Sequence[tuple[float, PressureLevel]], share: float, before: PressureLevel
) -> PressureLevel:
    """Return the level for a share; a level ends once usage is well below where it began."""
    found = PressureLevel.NONE
    for begin, level in thresholds:
        if share >= (begin - _HYSTERESIS if level <= before else begin):
            found = level
    return found
