from __future__ import annotations

import asyncio

import pytest

from constellation.core.ingest.deltas import Receipt, Verdict
from constellation.core.ingest.inbox import (
    GROUP_DELTAS,
    MAX_WAITING_BYTES,
    MAX_WAITING_DELTAS,
    Inbox,
    InboxEntry,
    WaitingCaller,
)
from constellation.errors import NotReadyError
from tests.deltas import make_delta


def make_entry(seq: int = 1) -> InboxEntry:
    receipt: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
    return InboxEntry(make_delta(0, seq), WaitingCaller(receipt, None), 0.0)


async def test_entries_are_taken_in_order_and_in_groups() -> None:
    inbox = Inbox()
    for seq in range(GROUP_DELTAS + 1):
        inbox.put(make_entry(seq))
    assert inbox.has_group

    first, second = inbox.take_group(), inbox.take_group()

    assert [entry.delta.seq for entry in first] == list(range(GROUP_DELTAS))
    assert [entry.delta.seq for entry in second] == [GROUP_DELTAS]
    assert not inbox.has_group
    assert len(inbox) == 0


async def test_waiting_for_an_entry_ends_with_the_next_one() -> None:
    inbox = Inbox()
    waiting = asyncio.create_task(inbox.wait_for_entry())
    await asyncio.sleep(0)
    assert not waiting.done()

    inbox.put(make_entry())

    await asyncio.wait_for(waiting, 5)


async def test_large_deltas_fill_an_inbox_before_many_do() -> None:
    inbox = Inbox()
    entry = make_entry()
    entry.delta.size_bytes = MAX_WAITING_BYTES // 1024
    for _ in range(1024):
        assert not inbox.is_full
        inbox.put(entry)
    assert inbox.is_full

    inbox.take_group()
    assert inbox.is_full
    inbox.take_group()
    assert not inbox.is_full


async def test_callers_that_wait_for_room_do_not_fill_it_beyond_its_limit() -> None:
    inbox = Inbox()
    entry = make_entry()
    entry.delta.size_bytes = MAX_WAITING_BYTES // 4

    async def put_when_there_is_room() -> None:
        await inbox.wait_for_room()
        inbox.put(entry)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(10):
            tasks.create_task(put_when_there_is_room())
        taken = 0
        while taken < 10:
            await asyncio.sleep(0)
            assert len(inbox) <= 4
            taken += len(inbox.take_group())


async def test_a_full_inbox_has_room_again_when_it_is_half_empty() -> None:
    inbox = Inbox()
    entry = make_entry()
    for _ in range(MAX_WAITING_DELTAS):
        assert not inbox.is_full
        inbox.put(entry)
    assert inbox.is_full

    while len(inbox) > MAX_WAITING_DELTAS // 2:
        inbox.take_group()
        assert inbox.is_full == (len(inbox) >= MAX_WAITING_DELTAS // 2)
    inbox.take_group()

    await asyncio.wait_for(inbox.wait_for_room(), 5)


async def test_a_waiting_caller_gets_the_receipt_or_the_error() -> None:
    loop = asyncio.get_running_loop()
    served, failed = (WaitingCaller(loop.create_future(), None) for _ in range(2))
    receipt = Receipt(Verdict.APPLIED, 1)

    served.complete(receipt)
    failed.fail(NotReadyError("later"))

    assert await served.receipt is receipt
    with pytest.raises(NotReadyError, match="later"):
        await failed.receipt


async def test_a_caller_that_went_away_is_not_answered() -> None:
    caller = WaitingCaller(asyncio.get_running_loop().create_future(), None)
    caller.receipt.cancel()

    caller.complete(Receipt(Verdict.APPLIED, 1))
    caller.fail(NotReadyError("later"))

    assert caller.receipt.cancelled()
