"""Rounds are numbered without gaps, also when one died or had no quorum."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from constellation.errors import QuorumError
from federation.journal.contract import RoundRecord
from federation.journal.memory import MemoryJournal
from federation.merge.result import RoundRules
from federation.round_policy import RoundPolicy
from federation.round_report import RoundState
from federation.rounds import Rounds
from federation.shards.fleet import Fleet
from federation.shards.publisher import Publisher


async def open_lonely_rounds(journal: MemoryJournal) -> Rounds:
    """Return the rounds of an active federation without shards, which needs none."""
    rounds = Rounds(Fleet([]), journal, Publisher([], 1.0), RoundRules(), RoundPolicy(min_shards=0))
    await rounds.resume()
    return rounds


async def test_the_next_round_has_the_next_number() -> None:
    rounds = await open_lonely_rounds(MemoryJournal())

    reports = [await rounds.run() for _ in range(2)]

    assert [report.round_id for report in reports] == [1, 2]


async def test_requested_rounds_end_with_their_federation() -> None:
    rounds = await open_lonely_rounds(MemoryJournal())
    async with rounds._round_lock:
        asked = asyncio.create_task(rounds.request())
        await asyncio.sleep(0)

        await rounds.requested.cancel()

        with pytest.raises(asyncio.CancelledError):
            await asked
    assert await rounds.get_round(0) is None


async def test_a_round_that_died_without_a_result_begins_again_under_its_number() -> None:
    journal = MemoryJournal()
    await journal.become_active()
    await journal.begin_round(RoundRecord(1, RoundState.PULLING, 0.0, b""))
    rounds = await open_lonely_rounds(journal)

    report = await rounds.run()

    assert report.round_id == 1
    assert report.state is RoundState.PUBLISHED


async def test_a_round_without_a_quorum_is_followed_by_the_next_number() -> None:
    rounds = await open_lonely_rounds(MemoryJournal())
    rounds.policy = replace(rounds.policy, min_shards=1)
    with pytest.raises(QuorumError):
        await rounds.run()

    rounds.policy = replace(rounds.policy, min_shards=0)
    report = await rounds.run()

    failed = await rounds.get_round(1)
    assert failed is not None
    assert failed.state is RoundState.NO_QUORUM
    assert report.round_id == 2
