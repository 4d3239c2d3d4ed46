"""A box that never watched anything: what it knows from globals alone, and how good that is."""

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

NEW_DEVICE_NUMBER: Final = 0
"""No household of MovieLens has it."""
_REQUESTED_FILMS: Final = 1000
"""Films, of which a household has seen many."""
_RECEIVE_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class NewDevice:
    """What a brand-new box got from its shard, and what it recommends."""

    shard_id: int
    seconds: float
    """From power on to the first recommendation."""
    clusters: int
    trends: int
    similar: int
    patterns: int
    choices: Sequence[Recommendation]
    """Best first, many more than are shown."""

    @property
    def check(self) -> Check:
        alone = not self.similar and not self.patterns
        reasoned = all(choice.score > 0 for choice in self.choices[:RECOMMENDATION_LIMIT])
        return Check(
            "the box that never watched anything recommends from globals alone",
            alone and self.clusters > 0 and reasoned and len(self.choices) >= RECOMMENDATION_LIMIT,
            f"{self.clusters} clusters, {self.trends} trends, {self.similar} similar patterns, "
            f"{self.patterns} own ones",
        )


async def start_new_device(
    shards: Mapping[int, str], folder: Path, catalogue: Catalogue
) -> NewDevice:
    """Open a new box with an empty folder, wait for its first globals, and ask for films."""
    started = time.monotonic()
    async with open_device(NEW_DEVICE_NUMBER, shards, folder, catalogue, AckLatencies()) as device:
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
