"""Crawling: a made-up device asks around until its shard shows it nothing new."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from attacks.world import Shard, World
    from constellation_settop.values import Embedding, Pattern

FIRST_QUESTIONS: Final = 300
"""Films, evenly spread over the catalogue, with which a crawl begins."""
MAX_QUESTIONS: Final = 1500
TASTES: Final = 2
"""Tastes that the asking device claims at once: the shard searches for each."""
KNOWN_COSINE: Final = 0.97
"""A question as near as this to an earlier one is left out."""


async def crawl_all(world: World) -> dict[bytes, Pattern]:
    """Return every pattern that the shards show to devices, by its pseudonym."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(crawl(world, shard)) for shard in world.shards]
    return {name: pattern for task in tasks for name, pattern in task.result().items()}


async def crawl(world: World, shard: Shard) -> dict[bytes, Pattern]:
    """Return what one shard shows: ask at many films, then at everything that was found."""
    device = world.make_device(shard)
    count = len(world.films.embeddings)
    spread = range(0, count, max(1, count // FIRST_QUESTIONS))
    questions = [world.films.embeddings[row] for row in spread]
    asked: list[Embedding] = []
    found: dict[bytes, Pattern] = {}
    while questions and len(asked) < MAX_QUESTIONS:
        batch: list[Embedding] = []
        while questions and len(batch) < TASTES:
            question = questions.pop()
            if not asked or float((np.stack(asked) @ question).max()) <= KNOWN_COSINE:
                asked.append(question)
                batch.append(question)
        for pseudonym, similar in (await device.ask(*batch)).similar.items():
            if pseudonym not in found:
                found[pseudonym] = similar.pattern
                questions.append(similar.pattern.embedding)
    await device.replace_everything()
    return found
