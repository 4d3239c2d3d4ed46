"""Waiting for what happens in another process, which tells nobody: asked again, with a deadline."""

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
    """Return once it holds."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not await condition():  # noqa: ASYNC110 - nobody here could set an event
            await asyncio.sleep(_POLL_SECONDS)


async def retry_until_ready(call: Callable[[], Awaitable[T]]) -> T:
    """Return what a call returns once it no longer raises NotReadyError."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            try:
                return await call()
            except NotReadyError:
                await asyncio.sleep(_POLL_SECONDS)
