"""A new device that has watched nothing: what it gets from its shard, and recommends."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from constellation.placement import find_owner
from examples.demo.comparison import ANY_TIME, RECOMMENDATION_LIMIT
from examples.demo.households import AckLatencies, make_device_id, open_device
from examples.demo.verify import Check

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from constellation_settop import Catalogue, Recommendation
    from examples.demo.security import OpenFleet

NEW_DEVICE_NUMBER: Final = 0
"""No MovieLens household has this number."""
_REQUESTED_FILMS: Final = 1000
"""How many films the device recommends: more than a household has seen."""
_RECEIVE_SECONDS: Final = 20.0
"""How long the first global state may take."""


@dataclass(frozen=True, slots=True)
class NewDevice:
    """What a new device got from its shard, and what it recommends."""

    shard_id: int
    seconds: float
    """From opening the device to its first recommendation."""
    clusters: int
    """Clusters in its global state."""
    trends: int
    """Trends in its global state."""
    similar: int
    """Similar patterns in its global state."""
    patterns: int
    """Patterns of its own."""
    choices: Sequence[Recommendation]
    """The best first; many more than are shown."""

    @property
    def check(self) -> Check:
        """The check that the device recommends from the global state alone."""
        alone = not self.similar and not self.patterns
        reasoned = all(choice.score > 0 for choice in self.choices[:RECOMMENDATION_LIMIT])
        return Check(
            "a new device recommends from the global state alone",
            alone and self.clusters > 0 and reasoned and len(self.choices) >= RECOMMENDATION_LIMIT,
            f"{self.clusters} clusters, {self.trends} trends, {self.similar} similar patterns, "
            f"{self.patterns} patterns of its own",
        )


async def start_new_device(
    shards: Mapping[int, str], folder: Path, catalogue: Catalogue, security: OpenFleet
) -> NewDevice:
    """Open a new device, wait for its first global state, and ask for films."""
    started = time.monotonic()
    opening = open_device(NEW_DEVICE_NUMBER, shards, folder, catalogue, AckLatencies(), security)
    async with opening as device:
        await device.sync.wait_for_update(_RECEIVE_SECONDS)
        choices = device.recommend(ANY_TIME, _REQUESTED_FILMS)
        held = device.outbox.global_state
        return NewDevice(
            shard_id=find_owner(make_device_id(NEW_DEVICE_NUMBER), shards),
            seconds=time.monotonic() - started,
            clusters=len(held.clusters),
            trends=len(held.trends),
            similar=len(held.similar),
            patterns=len(device.brain.patterns),
            choices=choices,
        )
