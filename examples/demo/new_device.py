"""A box that never watched anything: what it knows from globals alone, and how good that is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from constellation.placement import owner
from examples.demo.comparison import ANY_TIME, LIMIT
from examples.demo.households import Acks, device_id_of, open_box
from examples.demo.verify import Check

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from constellation_settop import Catalogue, Choice

NUMBER: Final = 0
"""No household of MovieLens has it."""
_ASKED: Final = 1000
"""Films, of which a household has seen many."""
_RECEIVE_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Newcomer:
    """What a brand-new box got from its shard, and what it recommends."""

    shard_id: int
    seconds: float
    """From power on to the first recommendation."""
    clusters: int
    trends: int
    similar: int
    patterns: int
    choices: Sequence[Choice]
    """Best first, many more than are shown."""

    @property
    def check(self) -> Check:
        alone = not self.similar and not self.patterns
        reasoned = all(choice.score > 0 for choice in self.choices[:LIMIT])
        return Check(
            "the box that never watched anything recommends from globals alone",
            alone and self.clusters > 0 and reasoned and len(self.choices) >= LIMIT,
            f"{self.clusters} clusters, {self.trends} trends, {self.similar} similar patterns, "
            f"{self.patterns} own ones",
        )


async def power_on(shards: Mapping[int, str], folder: Path, catalogue: Catalogue) -> Newcomer:
    """Open a new box with an empty folder, wait for its first globals, and ask for films."""
    started = time.monotonic()
    async with open_box(NUMBER, shards, folder, catalogue, Acks()) as box:
        await box.sync.refreshed(_RECEIVE_SECONDS)
        choices = box.recommend(ANY_TIME, _ASKED)
        held = box.outbox.global_state
        return Newcomer(
            shard_id=owner(device_id_of(NUMBER), shards),
            seconds=time.monotonic() - started,
            clusters=len(held.clusters),
            trends=len(held.trends),
            similar=len(held.similar),
            patterns=len(box.brain.patterns),
            choices=choices,
        )
