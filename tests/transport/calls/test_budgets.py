"""Each caller's calls take up a share of the time, and no more; others do not wait for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from constellation.auth.principal import ANYBODY, CALLER, Principal, Role
from constellation.errors import TooManyCallsError
from constellation.transport.calls.budgets import (
    BURST_SECONDS,
    CALL_SECONDS,
    MAX_DEBT_SECONDS,
    MAX_WAITING_CALLS,
    SHARE,
    CallBudgets,
    leave_turn,
)
from constellation.transport.calls.interceptor import CallKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

METHOD = "/constellation.v1.ShardService/SearchPatterns"
ALICE, BOB = (Principal(name, frozenset({Role.OPERATOR})) for name in ("alice", "bob"))


class Work:
    """A method whose calls take as long as a test says, on a clock that sleeping moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.waited = 0.0
        self.budgets = CallBudgets(lambda: self.now)
        monkeypatch.setattr("constellation.transport.calls.budgets.asyncio.sleep", self._sleep)

    async def call(self, caller: Principal, seconds: float) -> None:
        CALLER.set(caller)
        await self.budgets.limit_calls(METHOD, CallKind.UNARY, self._run)(seconds, None)

    async def stream(self, caller: Principal, seconds: float, reader_seconds: float) -> None:
        """Make a call with three responses, each of which takes so long, to a reader that does."""
        CALLER.set(caller)
        handle = self.budgets.limit_calls(METHOD, CallKind.SERVER_STREAM, self._yield)
        async for _ in handle(seconds, None):
            self.now += reader_seconds

    async def _run(self, seconds: float, _: Any) -> None:
        self.now += seconds

    async def _yield(self, seconds: float, _: Any) -> Any:
        for _ in range(3):
            self.now += seconds
            yield None

    async def _sleep(self, seconds: float) -> None:
        self.waited += seconds
        self.now += seconds


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    return Work(monkeypatch)


async def test_a_greedy_caller_gets_its_share_of_the_time(work: Work) -> None:
    for _ in range(500):
        await work.call(ALICE, 0.1)

    busy = 500 * 0.1
    assert busy / work.now == pytest.approx(SHARE, rel=0.1)


async def test_calls_that_do_nothing_are_not_for_free(work: Work) -> None:
    """gRPC, the check of the token and the answer's way out cost more than many a method."""
    for _ in range(2000):
        await work.call(ALICE, 0)

    assert 2000 * CALL_SECONDS / work.now == pytest.approx(SHARE, rel=0.4)


async def test_a_caller_that_calls_now_and_then_never_waits(work: Work) -> None:
    for _ in range(100):
        await work.call(ALICE, 0.1)
        work.now += 0.5

    assert work.waited == 0


async def test_waiting_in_a_fair_queue_costs_a_caller_nothing(work: Work) -> None:
    async def wait_and_work(seconds: float, _: Any) -> None:
        async with leave_turn():
            work.now += 10.0
        work.now += seconds

    CALLER.set(ALICE)
    handle = work.budgets.limit_calls(METHOD, CallKind.UNARY, wait_and_work)
    for _ in range(50):
        await handle(BURST_SECONDS / 2, None)
    assert work.waited == 0

    for _ in range(50):
        await work.call(ALICE, 0.1)
    assert work.waited > 0


async def test_without_a_budget_there_is_nothing_to_charge() -> None:
    async with leave_turn():
        await asyncio.sleep(0)


async def test_others_do_not_wait_for_a_greedy_caller(work: Work) -> None:
    for _ in range(30):
        await work.call(ALICE, 0.2)
    before = work.waited

    await work.call(BOB, 0.1)

    assert work.waited == before > 0


async def test_no_call_is_so_long_that_the_next_one_waits_for_ever(work: Work) -> None:
    await work.call(ALICE, 3600)

    await work.call(ALICE, 0.1)

    assert work.waited == pytest.approx(MAX_DEBT_SECONDS / SHARE, rel=0.01)


async def test_a_slow_reader_of_a_stream_pays_for_the_work_only(work: Work) -> None:
    await work.stream(ALICE, 0.1, reader_seconds=1000)
    await work.stream(ALICE, 0.1, reader_seconds=0)

    assert work.waited == 0


async def test_nobody_waits_where_nobody_can_be_told_apart(work: Work) -> None:
    for _ in range(100):
        await work.call(ANYBODY, 1)

    assert work.waited == 0


class Doors:
    """A method whose calls say that they have begun, and go on when a test lets them."""

    def __init__(self) -> None:
        self.budgets = CallBudgets()
        self.begun: list[Principal] = []
        self.open = asyncio.Event()

    def call(self, caller: Principal, *, leaves_turn: bool = False) -> asyncio.Task[None]:
        """Begin a call in a task of its own, as gRPC does."""

        async def run(_: Any, __: Any) -> None:
            self.begun.append(caller)
            if leaves_turn:
                async with leave_turn():
                    await self.open.wait()
            else:
                await self.open.wait()

        async def call() -> None:
            CALLER.set(caller)
            await self.budgets.limit_calls(METHOD, CallKind.UNARY, run)(None, None)

        return asyncio.create_task(call())


async def test_the_calls_of_one_caller_run_one_after_another() -> None:
    doors = Doors()
    calls = [doors.call(caller) for caller in (ALICE, ALICE, ALICE, BOB)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert doors.begun == [ALICE, BOB]

    doors.open.set()
    await asyncio.gather(*calls)
    assert doors.begun == [ALICE, BOB, ALICE, ALICE]


async def test_while_a_call_waits_in_another_queue_its_caller_may_make_others() -> None:
    doors = Doors()
    calls = [doors.call(ALICE, leaves_turn=True) for _ in range(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert doors.begun == [ALICE, ALICE, ALICE]

    doors.open.set()
    await asyncio.gather(*calls)


async def test_a_call_that_goes_away_while_it_waits_gives_its_turn_to_the_next() -> None:
    doors = Doors()
    doors.budgets._find("alice").charge(2 * BURST_SECONDS)
    gone = doors.call(ALICE)
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    doors.open.set()

    async with asyncio.timeout(10):
        await doors.call(ALICE)

    assert doors.begun == [ALICE]


async def test_a_caller_that_sends_slowly_pays_for_the_work_only(work: Work) -> None:
    async def send() -> AsyncIterator[float]:
        for _ in range(3):
            work.now += 1000
            yield 0.05

    async def read(requests: AsyncIterator[float], _: Any) -> list[float]:
        received = []
        async for seconds in requests:
            work.now += seconds
            received.append(seconds)
        return received

    CALLER.set(ALICE)
    handle = work.budgets.limit_calls(METHOD, CallKind.CLIENT_STREAM, read)

    assert await handle(send(), None) == [0.05, 0.05, 0.05]

    await work.call(ALICE, 0)
    assert work.waited == 0


@pytest.fixture
async def owing() -> AsyncIterator[Doors]:
    """Doors at which as many calls of ALICE, who owes time, wait as may."""
    doors = Doors()
    doors.budgets._find("alice").charge(2 * MAX_DEBT_SECONDS)
    waiting = [doors.call(ALICE) for _ in range(MAX_WAITING_CALLS)]
    await asyncio.sleep(0)
    yield doors
    for call in waiting:
        call.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_only_so_many_calls_of_a_caller_wait(
    owing: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("constellation.transport.calls.budgets.REFUSAL_SECONDS", 0.0)

    with pytest.raises(TooManyCallsError, match="8 calls of 'alice' wait for their turn"):
        await owing.call(ALICE)

    owing.open.set()
    await owing.call(BOB)


async def test_who_tries_again_at_once_is_no_faster(
    owing: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("constellation.transport.calls.budgets.MAX_HELD_REFUSALS", 2)
    held = [owing.call(ALICE) for _ in range(2)]
    await asyncio.sleep(0)

    with pytest.raises(TooManyCallsError):  # more are refused at once: each takes memory
        await owing.call(ALICE)
    assert not any(call.done() for call in held)

    held[0].cancel()
    await asyncio.gather(held[0], return_exceptions=True)
    held[0] = owing.call(ALICE)
    await asyncio.sleep(0)
    assert not held[0].done()
    for call in held:
        with pytest.raises(TooManyCallsError):
            await call
