from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from constellation.core.ingest.deltas import Verdict
from constellation.core.ingest.observers import ShardObservers
from constellation.core.store import Content
from constellation.errors import (
    FencedError,
    NotReadyError,
    OutcomeUnknownError,
    ShardFullError,
)
from constellation.federated.published import StoredGlobal
from constellation.storage.memory import MemoryPatternStore
from constellation.wall_clock import MAX_SECONDS, read_clock
from tests.core.shards import QueuedUpdates, open_core
from tests.deltas import PatternSpec, device_id, make_delta

if TYPE_CHECKING:
    from constellation.core.store import CommitWrites


class UnreliableStore(MemoryPatternStore):
    """A store whose next commit fails, before or after it is durable."""

    def __init__(self) -> None:
        super().__init__()
        self.fails_before: Exception | None = None
        self.fails_after: Exception | None = None

    async def commit(self, epoch: int, writes: CommitWrites) -> None:
        error, self.fails_before = self.fails_before, None
        if error is not None:
            raise error
        await super().commit(epoch, writes)
        error, self.fails_after = self.fails_after, None
        if error is not None:
            raise error


async def test_a_durable_delta_is_acknowledged_and_counted() -> None:
    async with open_core() as manager:
        receipt = await manager.apply(make_delta(0, 1, [PatternSpec(1)]))

        assert (receipt.verdict, receipt.through_seq) == (Verdict.APPLIED, 1)
        assert (await manager.store.read_totals()).patterns == 1
        assert manager.stats.deltas[Verdict.APPLIED] == 1
        assert manager.stats.commits == 1


async def test_a_delta_is_stored_although_the_clock_has_left_the_range_of_stored_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_core() as manager:
        monkeypatch.setattr(time, "time", lambda: 2.0**32 + 7)

        receipt = await manager.apply(make_delta(0, 1, [PatternSpec(1)]))

        assert receipt.verdict is Verdict.APPLIED
        assert manager.table.devices["synced_at"][0] == MAX_SECONDS
        assert await manager.lifetimes.expire(1, read_clock()) == 0


async def test_a_device_beyond_the_limit_is_refused_although_others_are_applied() -> None:
    async with open_core() as manager:
        deltas = [manager.apply(make_delta(device, 1)) for device in range(4)]
        results = await asyncio.gather(*deltas, return_exceptions=True)

        assert [type(result) for result in results[3:]] == [ShardFullError]
        assert manager.table.totals.devices == 3
        assert manager.stats.deltas[Verdict.REFUSED] == 1


async def test_a_device_whose_taste_moved_is_queued_for_an_update() -> None:
    updates = QueuedUpdates()
    async with open_core(observers=ShardObservers(updates=updates)) as manager:
        await manager.apply(make_delta(0, 1, [PatternSpec(1, 1)]))
        await manager.apply(make_delta(1, 1))
        await manager.apply(make_delta(0, 2, [PatternSpec(1, 1, sample_count=9)]))

    assert updates.device_ids == [device_id(0)]


async def test_a_failed_commit_changes_nothing_and_is_repeated() -> None:
    store = UnreliableStore()
    async with open_core(store) as manager:
        store.fails_before = NotReadyError("away")
        with pytest.raises(NotReadyError, match="away"):
            await manager.apply(make_delta(0, 1, [PatternSpec(1)]))
        assert manager.table.totals.lsn == 0
        assert manager.stats.failed_deltas == 1

        receipt = await manager.apply(make_delta(0, 1, [PatternSpec(1)]))

        assert receipt.verdict is Verdict.APPLIED


@pytest.mark.parametrize("write", ["add_contents", "put_global", "delete_device"])
async def test_a_callers_write_after_a_takeover_ends_the_process_at_once(write: str) -> None:
    store = MemoryPatternStore()
    arguments = {
        "add_contents": [Content("a", "", 1, (), 1999, b"\1" * 384)],
        "put_global": StoredGlobal(1, 1, b""),
        "delete_device": device_id(0),
    }
    with pytest.raises(ExceptionGroup) as ended:  # noqa: PT012 - the block is what ends
        async with asyncio.timeout(10), open_core(store) as manager:
            await manager.apply(make_delta(0, 1))
            await store.take_epoch()  # as another process does

            with pytest.raises(FencedError, match="epoch 1 was taken over"):
                await getattr(manager.committer, write)(arguments[write])
            await asyncio.Event().wait()

    assert ended.group_contains(FencedError)


@pytest.mark.parametrize("is_durable", [True, False])
async def test_a_commit_whose_answer_was_lost_counts_once(*, is_durable: bool) -> None:
    store = UnreliableStore()
    async with open_core(store) as manager:
        error = OutcomeUnknownError("lost")
        store.fails_after, store.fails_before = (error, None) if is_durable else (None, error)
        with pytest.raises(NotReadyError, match="lost"):
            await manager.apply(make_delta(0, 1, [PatternSpec(1)]))
        assert manager.stats.failed_deltas == 0

        receipt = await manager.apply(make_delta(0, 1, [PatternSpec(1)]))

        assert receipt.verdict is (Verdict.DUPLICATE if is_durable else Verdict.APPLIED)
        assert manager.table.totals == await store.read_totals()
        assert manager.epoch == 2
        assert manager.stats.unknown_commits == 1
        assert manager.stats.failed_deltas == (0 if is_durable else 1)


@pytest.mark.parametrize("is_durable", [True, False])
async def test_new_contents_of_a_commit_whose_answer_was_lost_are_paid_once(
    monkeypatch: pytest.MonkeyPatch, *, is_durable: bool
) -> None:
    hour = 500_000
    monkeypatch.setattr(time, "time", lambda: hour * 3600.0)
    store = UnreliableStore()
    async with open_core(store) as manager:
        error = OutcomeUnknownError("lost")
        store.fails_after, store.fails_before = (error, None) if is_durable else (None, error)
        delta = make_delta(0, 1, [PatternSpec(1, contents=("a", "b"))])
        with pytest.raises(NotReadyError, match="lost"):
            await manager.apply(delta)

        await manager.apply(delta)

        assert manager.table.new_contents.read(np.array([0]), hour).tolist() == [2]
        assert len(await store.read_terms()) == 2


async def test_nothing_is_committed_while_commits_are_paused() -> None:
    async with open_core() as manager:
        loop = asyncio.get_running_loop()
        paused, may_go_on = asyncio.Event(), asyncio.Event()

        def work() -> int:
            loop.call_soon_threadsafe(paused.set)
            asyncio.run_coroutine_threadsafe(may_go_on.wait(), loop).result(5)
            return manager.table.totals.lsn

        pausing = asyncio.create_task(manager.committer.run_with_commits_paused(work))
        await paused.wait()
        applying = asyncio.create_task(manager.apply(make_delta(0, 1)))
        may_go_on.set()

        assert await pausing == 0
        assert (await applying).verdict is Verdict.APPLIED


async def test_silent_devices_expire() -> None:
    async with open_core() as manager:
        await manager.apply(make_delta(0, 1, [PatternSpec(1)]))

        assert await manager.committer.expire(before=0.0) == 0
        assert await manager.committer.expire(before=1e12) == 1
        assert await manager.committer.expire(before=1e12) == 0
        assert manager.table.totals.patterns == 0


async def test_contents_are_counted_as_new_or_replaced() -> None:
    contents = [Content(text, "", 1, ("Drama",), 1999, bytes(384)) for text in "ab"]
    async with open_core() as manager:
        assert await manager.committer.add_contents(contents[:1]) == (1, 0)
        assert await manager.committer.add_contents(contents) == (1, 1)
        assert manager.catalogue.count == 2
