from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import numpy as np

from constellation.core.rows import TermKind
from constellation.core.shared.verification import verify_embeddings, verify_names
from tests.core.shards import open_core
from tests.core.shared.households import RULES, Households
from tests.deltas import embedding
from tests.sharing import add_to_catalogue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from constellation.core.shard import ShardManager


@asynccontextmanager
async def open_sharing() -> AsyncIterator[tuple[ShardManager, int]]:
    """Run a shard with two shared patterns; yield it with the group of the first."""
    async with open_core(rules=RULES) as manager:
        households = Households(manager)
        for device in range(3):
            await households.upsert(device, contents=("film", f"own-{device}"))
            await households.upsert(device + 3, 1, contents=("play",))
        await households.run_epoch()
        vocabulary, groups = manager.table.vocabulary, manager.table.groups
        film = vocabulary.number(TermKind.CONTENT, "film")
        (group,) = np.flatnonzero((groups.rows["contents"] == film).any(axis=1)).tolist()
        yield manager, group


async def test_what_an_epoch_published_is_sound() -> None:
    async with open_sharing() as (manager, _):
        assert manager.table.groups.count == 2
        assert not verify_names(manager.table)
        assert not await verify_embeddings(manager.store, manager.table)


async def test_a_name_of_one_member_is_found() -> None:
    async with open_sharing() as (manager, group):
        own = manager.table.vocabulary.number(TermKind.CONTENT, "own-1")
        manager.table.groups.rows["contents"][group, 1] = own

        (problem,) = verify_names(manager.table)

        assert problem.startswith("1 names in shared patterns have too few members")
        assert f"'own-1' in group {group}, which 1 of its members have, and 3 must" in problem


async def test_a_name_that_no_member_has_is_found() -> None:
    async with open_sharing() as (manager, group):
        play = manager.table.vocabulary.number(TermKind.CONTENT, "play")
        manager.table.groups.rows["contents"][group, 1] = play

        (problem,) = verify_names(manager.table)

        assert f"'play' in group {group}, which 0 of its members have" in problem


async def test_a_member_that_changed_since_proves_nothing() -> None:
    async with open_sharing() as (manager, _):
        households = Households(manager, seqs=dict.fromkeys(range(6), 1))
        await households.upsert(0, contents=("other",))

        assert not verify_names(manager.table)


async def test_an_embedding_that_is_not_of_the_names_is_found() -> None:
    async with open_sharing() as (manager, group):
        manager.table.groups.rows["codes"][group, 0] += 9

        (problem,) = await verify_embeddings(manager.store, manager.table)

        assert f"the first in group {group}: they are damaged, or the catalogue changed" in problem


async def test_a_catalogue_that_changed_looks_the_same() -> None:
    async with open_sharing() as (manager, _):
        assert (embedding(77) != embedding(0)).any()
        await add_to_catalogue(manager, {"film": 77})

        assert len(await verify_embeddings(manager.store, manager.table)) == 1
        assert not verify_names(manager.table)
