from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from constellation_settop import InvalidArgumentError, UnreachableError
from constellation_settop.loop_thread import LoopThread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Block:
    """What a thread keeps open. It breaks when two calls run at once or outside the loop."""

    def __init__(self) -> None:
        self.calls = 0
        self.is_open = True
        self.thread = threading.current_thread()

    def count(self) -> int:
        assert self.is_open
        assert threading.current_thread() is self.thread
        before = self.calls
        self.calls = before + 1
        return self.calls


def start(error_at_start: Exception | None = None, error_at_end: Exception | None = None) -> (
    LoopThread[Block]
):  # fmt: skip
    @asynccontextmanager
    async def open_block() -> AsyncIterator[Block]:
        if error_at_start is not None:
            raise error_at_start
        block = Block()
        try:
            yield block
        finally:
            await asyncio.sleep(0)
            block.is_open = False
            if error_at_end is not None:
                raise error_at_end

    return LoopThread.start(open_block, "block")


def test_calls_of_many_threads_run_one_after_the_other_in_the_loop() -> None:
    thread = start()
    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(lambda _: thread.call(Block.count), range(400)))
    thread.close()

    assert sorted(counts) == list(range(1, 401))


def test_the_error_of_a_call_reaches_its_caller_and_nothing_else() -> None:
    thread = start()

    def fail(_: Block) -> None:
        raise KeyError("mine")

    async def fail_later(_: Block) -> None:
        await asyncio.sleep(0)
        raise KeyError("later")

    with pytest.raises(KeyError, match="mine"):
        thread.call(fail)
    with pytest.raises(KeyError, match="later"):
        thread.wait(fail_later)
    assert thread.call(Block.count) == 1
    thread.close()


def test_what_fails_at_the_start_is_raised_at_the_start_and_leaves_no_thread() -> None:
    before = threading.active_count()

    with pytest.raises(ValueError, match="no disk"):
        start(error_at_start=ValueError("no disk"))

    assert threading.active_count() == before


def test_what_fails_at_the_end_is_raised_by_close_once() -> None:
    thread = start(error_at_end=ValueError("crashed"))

    with pytest.raises(ValueError, match="crashed"):
        thread.close()
    thread.close()


def test_close_ends_what_waits_and_refuses_what_comes_later() -> None:
    thread = start()
    waiting = threading.Event()

    async def wait_forever(_: Block) -> None:
        waiting.set()
        await asyncio.Event().wait()

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(thread.wait, wait_forever)
        assert waiting.wait(5)
        thread.close()
        with pytest.raises(UnreachableError, match="block was closed before this was complete"):
            future.result(5)
    with pytest.raises(InvalidArgumentError, match="block is closed: start another one"):
        thread.call(Block.count)


def test_no_call_hangs_or_meets_a_closed_block_when_threads_race_with_close() -> None:
    for _ in range(20):
        thread = start()
        go = threading.Barrier(5)

        def call_until_refused(
            thread: LoopThread[Block] = thread, go: threading.Barrier = go
        ) -> int:
            go.wait()
            for calls in range(1_000_000):
                try:
                    thread.call(Block.count)
                except InvalidArgumentError:
                    return calls
            return -1

        with ThreadPoolExecutor(4) as pool:
            futures = [pool.submit(call_until_refused) for _ in range(4)]
            go.wait()
            thread.close()
            assert all(future.result(10) >= 0 for future in futures)


def test_a_call_from_the_threads_own_loop_is_refused_instead_of_waiting_for_itself() -> None:
    thread = start()

    with pytest.raises(InvalidArgumentError, match="cannot be called from its own thread"):
        thread.call(lambda _: thread.call(Block.count))
    thread.close()


def test_a_program_that_forgets_to_close_ends_and_closes() -> None:
    program = (
        "from contextlib import asynccontextmanager\n"
        "from constellation_settop.loop_thread import LoopThread\n"
        "@asynccontextmanager\n"
        "async def block():\n"
        "    yield 7\n"
        "    print('closed')\n"
        "thread = LoopThread.start(block, 'block')\n"
        "print(thread.call(lambda value: value))\n"
    )

    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True
    )

    assert printed.stdout.split() == ["7", "closed"]
