from __future__ import annotations

import asyncio

import pytest

from constellation.tasks import finish_even_if_cancelled


async def test_the_result_is_returned() -> None:
    async def work() -> int:
        return 7

    assert await finish_even_if_cancelled(work(), "work") == 7


async def test_work_finishes_although_its_caller_is_cancelled() -> None:
    may_finish, finished = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await may_finish.wait()
        finished.set()

    caller = asyncio.create_task(finish_even_if_cancelled(work(), "work"))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert not finished.is_set()

    may_finish.set()

    await asyncio.wait_for(finished.wait(), 5)


async def test_an_error_reaches_the_caller() -> None:
    async def work() -> None:
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        await finish_even_if_cancelled(work(), "work")
