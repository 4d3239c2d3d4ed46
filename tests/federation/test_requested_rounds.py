from __future__ import annotations

import asyncio

import pytest

from constellation.errors import QuorumError
from federation.requested_rounds import RequestedRounds
from federation.round_report import RoundReport, RoundState


class RunCounter:
    """Runs rounds that only count."""

    def __init__(self, error: Exception | None = None) -> None:
        self.lock = asyncio.Lock()
        self.requested = RequestedRounds(self.lock, self.run)
        self.count = 0
        self._error = error

    async def run(self) -> RoundReport:
        assert self.lock.locked()
        self.count += 1
        if self._error is not None:
            raise self._error
        return RoundReport(
            round_id=self.count, generation=1, state=RoundState.PUBLISHED, started_at=0.0
        )


async def test_all_who_ask_before_a_round_begins_share_it_even_if_some_go_away() -> None:
    counter = RunCounter()
    async with counter.lock:  # as a round that runs holds it
        asked = [asyncio.create_task(counter.requested.request()) for _ in range(100)]
        await asyncio.sleep(0)
        for each in asked[:50]:
            each.cancel()
        await asyncio.wait(asked[:50])

    reports = await asyncio.gather(*asked[50:])

    assert {report.round_id for report in reports} == {1}
    assert (await counter.requested.request()).round_id == 2


async def test_the_round_of_a_caller_that_went_away_still_runs() -> None:
    counter = RunCounter()
    async with counter.lock:
        asked = asyncio.create_task(counter.requested.request())
        await asyncio.sleep(0)
        asked.cancel()
        await asyncio.wait([asked])

    async with counter.lock:  # its turn comes after that of the round
        assert counter.count == 1


async def test_cancelled_rounds_do_not_run() -> None:
    counter = RunCounter()
    async with counter.lock:
        asked = asyncio.create_task(counter.requested.request())
        await asyncio.sleep(0)

        await counter.requested.cancel()

        with pytest.raises(asyncio.CancelledError):
            await asked
    assert counter.count == 0


async def test_a_round_that_fails_tells_all_who_asked_and_the_next_one_runs() -> None:
    counter = RunCounter(QuorumError("too few shards"))

    asked = [asyncio.create_task(counter.requested.request()) for _ in range(3)]
    results = await asyncio.gather(*asked, return_exceptions=True)
    with pytest.raises(QuorumError):
        await counter.requested.request()

    assert {type(each) for each in results} == {QuorumError}
    assert counter.count == 2
