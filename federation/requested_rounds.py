"""RequestedRounds: the rounds that callers asked for, which run even if their callers go away."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from federation.round_report import RoundReport

log = structlog.get_logger(__name__)


class RequestedRounds:
    """The rounds that somebody asked for. At most one of them waits, however many ask."""

    def __init__(self, round_lock: asyncio.Lock, run: Callable[[], Awaitable[RoundReport]]) -> None:
        """`run` runs one round; it is called with `round_lock` held."""
        self._round_lock = round_lock
        self._run = run
        self._waiting: asyncio.Task[RoundReport] | None = None
        """The round that has not begun, which all who ask share."""
        self._tasks: set[asyncio.Task[RoundReport]] = set()
        """All rounds that are not done."""

    async def request(self) -> RoundReport:
        """Run one round for a caller, even if that goes away, and return its report."""
        if self._waiting is None:
            task = asyncio.create_task(self._run_when_free(), name="round")
            self._waiting = task
            self._tasks.add(task)
            task.add_done_callback(self._forget)
        return await asyncio.shield(self._waiting)

    async def cancel(self) -> None:
        """End all rounds, before the journal is closed."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run_when_free(self) -> RoundReport:
        async with self._round_lock:
            self._waiting = None
            return await self._run()

    def _forget(self, task: asyncio.Task[RoundReport]) -> None:
        """Log why a round failed: those who asked for it may have gone."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("round_failed", problem=str(error))
