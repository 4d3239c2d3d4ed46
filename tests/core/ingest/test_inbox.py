from __future__ import annotations

import asyncio

import pytest

from constellation.core.ingest.deltas import Receipt, Verdict
from constellation.core.ingest.inbox import (
    DEVICE_CHANGES,
    GROUP_CHANGES,
    GROUP_DELTAS,
    MAX_WAITING_BYTES,
    MAX_WAITING_DELTAS,
    Inbox,
    InboxEntry,
    WaitingCaller,
)
from constellation.errors import NotReadyError
from tests.deltas import PatternSpec, device_id, make_delta


def make_entry(seq: int = 1) -> InboxEntry:
    return InboxEntry(make_delta(0, seq), WaitingCaller(1), 0.0)


async def test_entries_are_taken_in_order_and_in_groups() -> None:
    inbox = Inbox()
    for number in range(GROUP_DELTAS + 1):
        inbox.put(make_device_entry(number, 1, 0))
    assert inbox.has_group

    first, second = inbox.take_group(), inbox.take_group()

    ids = [entry.delta.device_id for entry in (*first, *second)]
    assert ids == [device_id(number) for number in range(GROUP_DELTAS + 1)]
    assert len(second) == 1
    assert not inbox.has_group
    assert len(inbox) == 0


async def test_a_full_group_ends_the_wait_for_company() -> None:
    inbox = Inbox()
    waiting = asyncio.create_task(inbox.wait_for_group(3600.0))
    for number in range(GROUP_DELTAS - 1):
        inbox.put(make_device_entry(number, 1, 0))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not waiting.done()

    inbox.put(make_device_entry(GROUP_DELTAS, 1, 0))

    await asyncio.wait_for(waiting, 10.0)


async def test_the_wait_for_company_ends_although_no_group_comes() -> None:
    inbox = Inbox()
    inbox.put(make_entry())

    await asyncio.wait_for(inbox.wait_for_group(0.001), 10.0)

    assert not inbox.has_group


async def test_without_a_wait_the_rest_of_the_turn_comes_along() -> None:
    inbox = Inbox()
    inbox.put(make_device_entry(1, 1, 0))
    asyncio.get_running_loop().call_soon(inbox.put, make_device_entry(2, 1, 0))

    await inbox.wait_for_group(0.0)

    assert list_taken(inbox) == [(1, 1), (2, 1)]


def make_device_entry(device: int, seq: int, patterns: int) -> InboxEntry:
    specs = [PatternSpec(number) for number in range(patterns)]
    return InboxEntry(make_delta(device, seq, specs), WaitingCaller(1), 0.0)


def list_taken(inbox: Inbox) -> list[tuple[int, int]]:
    """Take a group, and return the number of the device and the seq of each delta."""
    devices = {device_id(number): number for number in range(100)}
    return [(devices[each.delta.device_id], each.delta.seq) for each in inbox.take_group()]


async def test_a_device_that_sends_much_waits_for_itself() -> None:
    inbox = Inbox()
    for seq in range(1, 6):
        inbox.put(make_device_entry(1, seq, DEVICE_CHANGES))
    inbox.put(make_device_entry(2, 1, 1))
    inbox.put(make_device_entry(2, 2, 1))

    assert list_taken(inbox) == [(1, 1), (2, 1), (2, 2)]
    inbox.put(make_device_entry(3, 1, 1))
    assert list_taken(inbox) == [(1, 2), (3, 1)]
    assert list_taken(inbox) == [(1, 3)]


async def test_small_deltas_of_a_device_share_a_commit_up_to_its_share() -> None:
    inbox = Inbox()
    for seq in range(1, 5):
        inbox.put(make_device_entry(1, seq, DEVICE_CHANGES // 2))

    assert list_taken(inbox) == [(1, 1), (1, 2)]
    assert list_taken(inbox) == [(1, 3), (1, 4)]


async def test_a_commit_has_about_as_many_changes_at_most() -> None:
    inbox = Inbox()
    many = GROUP_CHANGES // DEVICE_CHANGES
    for device in range(many + 3):
        inbox.put(make_device_entry(device, 1, DEVICE_CHANGES))

    assert [device for device, _ in list_taken(inbox)] == list(range(many))
    assert [device for device, _ in list_taken(inbox)] == [many, many + 1, many + 2]


async def test_the_deltas_of_a_device_that_was_deleted_are_gone() -> None:
    inbox = Inbox()
    for device in (1, 2, 1):
        inbox.put(make_device_entry(device, 1, 1))

    assert len(inbox.remove_device(device_id(1))) == 2
    assert inbox.remove_device(device_id(3)) == []
    assert len(inbox) == 1
    assert list_taken(inbox) == [(2, 1)]


async def test_waiting_for_an_entry_ends_with_the_next_one() -> None:
    inbox = Inbox()
    waiting = asyncio.create_task(inbox.wait_for_entry())
    await asyncio.sleep(0)
    assert not waiting.done()

    inbox.put(make_entry())

    await asyncio.wait_for(waiting, 5)


async def test_large_deltas_fill_an_inbox_before_many_do() -> None:
    inbox = Inbox()
    for device in range(1024):
        assert not inbox.is_full
        entry = make_device_entry(device, 1, 0)
        entry.delta.size_bytes = MAX_WAITING_BYTES // 1024
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


async def test_a_waiting_caller_gets_all_receipts_in_order_or_the_first_error() -> None:
    served, failed = WaitingCaller(2), WaitingCaller(2)
    receipts = [Receipt(Verdict.APPLIED, 1), Receipt(Verdict.APPLIED, 2)]

    served.complete(receipts[0])
    assert not served.receipts.done()
    served.complete(receipts[1])
    failed.complete(receipts[0])
    failed.fail(NotReadyError("later"))
    failed.fail(NotReadyError("once is enough"))

    assert await served.receipts == receipts
    with pytest.raises(NotReadyError, match="later"):
        await failed.receipts


async def test_a_caller_that_went_away_is_not_answered() -> None:
    caller = WaitingCaller(1)
    caller.receipts.cancel()

    caller.complete(Receipt(Verdict.APPLIED, 1))
    caller.fail(NotReadyError("later"))

    assert caller.receipts.cancelled()
