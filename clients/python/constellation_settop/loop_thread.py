"""LoopThread: one asynchronous block, kept open in a thread of its own, for callers in others."""

from __future__ import annotations

import asyncio
import atexit
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Generic, TypeVar

from constellation_settop.errors import InvalidArgumentError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextlib import AbstractAsyncContextManager

T = TypeVar("T")
R = TypeVar("R")


class LoopThread(Generic[T]):
    """A thread with an event loop of its own, in which one block is open until `close`.

    Its methods may be called from several threads at once; each call runs alone, in the loop.
    A program that ends without `close` closes it at the end.
    """

    def __init__(self, opening: Callable[[], AbstractAsyncContextManager[T]], name: str) -> None:
        """Prepare the thread without starting it. Callers use `start`."""
        self._opening = opening
        self._name = name
        self._opened: Future[T] = Future()
        self._lock = threading.Lock()
        self._is_accepting = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = asyncio.Event()
        self._waiting: set[asyncio.Task[None]] = set()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @classmethod
    def start(
        cls, opening: Callable[[], AbstractAsyncContextManager[T]], name: str
    ) -> LoopThread[T]:
        """Enter the block in a new thread. Raises what entering it raises.

        `name` names the thread, and the block in messages.
        """
        thread = cls(opening, name)
        thread._thread.start()
        try:
            thread._opened.result()
        except BaseException:
            thread.close()
            raise
        atexit.register(thread.close)
        return thread

    def call(self, work: Callable[[T], R]) -> R:
        """Run `work` in the loop, and return its result or raise its error.

        Raises InvalidArgumentError after `close`, and inside the loop's own thread.
        """
        result: Future[R] = Future()

        def run() -> None:
            try:
                result.set_result(work(self._opened.result()))
            except BaseException as error:  # noqa: BLE001  # it is the caller's
                result.set_exception(error)

        self._submit(run)
        return result.result()

    def wait(self, work: Callable[[T], Coroutine[None, None, None]]) -> None:
        """Wait for a coroutine that runs in the loop, and raise its error.

        Raises UnreachableError when `close` ends it, and InvalidArgumentError as `call` does.
        """
        result: Future[None] = Future()

        async def run() -> None:
            try:
                await work(self._opened.result())
                result.set_result(None)
            except asyncio.CancelledError:
                closed = f"{self._name} was closed before this was complete"
                result.set_exception(UnreachableError(closed))
                raise
            except BaseException as error:  # noqa: BLE001  # it is the caller's
                result.set_exception(error)

        def begin() -> None:
            task = asyncio.get_running_loop().create_task(run(), name=f"{self._name}_wait")
            self._waiting.add(task)
            task.add_done_callback(self._waiting.discard)

        self._submit(begin)
        result.result()

    def _submit(self, run: Callable[[], None]) -> None:
        if threading.current_thread() is self._thread:
            raise InvalidArgumentError(
                f"{self._name} cannot be called from its own thread, such as in on_ack: "
                "hand the work to another thread"
            )
        with self._lock:
            if not self._is_accepting or self._loop is None:
                raise InvalidArgumentError(f"{self._name} is closed: start another one")
            self._loop.call_soon_threadsafe(run)

    def close(self) -> None:
        """Leave the block, and wait until that is done. Calls that wait end before.

        Raises what leaving the block raises. Closing twice does no harm.
        """
        atexit.unregister(self.close)
        with self._lock:
            self._is_accepting = False
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self) -> None:
        try:
            asyncio.run(self._keep_open())
        except BaseException as error:  # noqa: BLE001  # the caller of start or close gets it
            if self._opened.done():
                self._error = error
            else:
                self._opened.set_exception(error)

    async def _keep_open(self) -> None:
        with self._lock:
            self._loop = asyncio.get_running_loop()
        try:
            async with self._opening() as value:
                with self._lock:
                    self._is_accepting = True
                self._opened.set_result(value)
                await self._closing.wait()  # whatever was accepted is in the loop before this
                for task in list(self._waiting):
                    task.cancel()
                if self._waiting:
                    await asyncio.wait(self._waiting)
        finally:
            with self._lock:
                self._loop = None
