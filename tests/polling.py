"""Waiting, with a deadline, for a state of another process that cannot notify us."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

from constellation.errors import NotReadyError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

DEADLINE_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.02


async def wait_until(condition: Callable[[], Awaitable[object]]) -> None:
    """Ask again until a condition is true; raise TimeoutError after DEADLINE_SECONDS."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not await condition():  # noqa: ASYNC110 - no event to wait for
            await asyncio.sleep(_POLL_SECONDS)


async def retry_until_ready(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call until it does not raise NotReadyError; return its result.

    Raise TimeoutError after DEADLINE_SECONDS.
    """
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            try:
                return await call()
            except NotReadyError:
                await asyncio.sleep(_POLL_SECONDS)
