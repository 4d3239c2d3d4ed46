"""Clusters: what did a household watch that is one of many devices behind a centroid?

The game is that of the crowd, with more households, on every shard: a coin decides which of two
films one of them watched besides the film that all of them watched. The attacker knows everything
but the coin, and is sent clusters of the federation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from attacks.crowd import Trial, add_up, claim, draw_trials
from attacks.game import score_advantage
from attacks.results import Goal, Outcome
from quality.fleet import SHARD_COUNT, Federation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from attacks.made_up import MadeUpDevice
    from attacks.world import World
    from constellation_settop.values import Embedding

MEMBERS_OF_A_SHARD: Final = 16
"""Households of a crowd on each shard: the least that a local cluster of a shard has."""
MEMBERS: Final = MEMBERS_OF_A_SHARD * SHARD_COUNT
CLUSTERS: Final = Goal(
    "clusters",
    f"tell from clusters which of two films a household watched whose taste is merged with "
    f"{MEMBERS - 1} others",
    "advantage",
    reach=0.02,
    least=0.2,
)
NEAR: Final = 0.02
"""A centroid this near to an expected one is that of the crowd: INT8 rounds by less than half."""
MAX_TRIALS: Final = 60
"""Every member has a pattern for each trial, and 64 fit into a delta."""
ROUNDS: Final = 2
"""The first round makes anchors, the second one sums of what is near them."""


async def run(world: World) -> list[Outcome]:
    """Let every crowd watch, run rounds, and guess from the clusters that are shown."""
    trials = draw_trials(world, MAX_TRIALS)
    crowd = [world.make_device(shard) for _ in range(MEMBERS_OF_A_SHARD) for shard in world.shards]
    for number, device in enumerate(crowd):
        await device.replace_everything(
            [claim(world, trial, number, row) for row, trial in enumerate(trials)]
        )
    settings = world.protection.federation
    async with Federation.open(world.fleet, "clusters", settings) as federation:
        for _ in range(ROUNDS):
            await federation.run_round()
        asking = world.make_device(world.shards[0])
        values = [await _guess(world, asking, trial) for trial in trials]
    for device in (asking, *crowd):
        await device.replace_everything()
    return [Outcome(CLUSTERS, score_advantage(values, [each.is_first for each in trials]))]


async def _guess(world: World, device: MadeUpDevice, trial: Trial) -> float:
    """Return how much nearer a cluster is to a crowd with the first film; 0 if none is near."""
    expected = _expect(world, trial)
    state = await device.ask(world.get_embedding(trial.common))
    shown = [each.pattern.embedding for each in state.clusters.values()]
    if not shown:
        return 0.0
    first, second = (
        min(float(np.linalg.norm(each - expected[film])) for each in shown)
        for film in trial.candidates
    )
    return second - first if min(first, second) <= NEAR else 0.0


def _expect(world: World, trial: Trial) -> Mapping[str, Embedding]:
    """Return, for each film that may be the one, the centroid that the crowd would have."""

    def sum_members(film: str) -> Embedding:
        members: Sequence[Sequence[str]] = [
            (trial.common, film),
            *((trial.common, each) for each in trial.companions),
            *[(trial.common,)] * (MEMBERS - 1 - len(trial.companions)),
        ]
        total = np.sum([add_up(world, each) for each in members], axis=0)
        centroid: Embedding = (total / np.linalg.norm(total)).astype(np.float32)
        return centroid

    return {film: sum_members(film) for film in trial.candidates}
