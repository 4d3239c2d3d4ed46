"""Waiting for what happens in another process, which tells nobody: asked again, with a deadline."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

from constellation.errors import NotReadyError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

DEADLINE_SECONDS: Final = 15.0
_AGAIN_SECONDS: Final = 0.02


async def eventually(holds: Callable[[], Awaitable[object]]) -> None:
    """Return once it holds."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not await holds():  # noqa: ASYNC110 - nobody here could set an event
            await asyncio.sleep(_AGAIN_SECONDS)


async def once_ready(call: Callable[[], Awaitable[T]]) -> T:
    """Return what a call returns once it no longer raises NotReadyError."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            try:
                return await call()
            except NotReadyError:
                await asyncio.sleep(_AGAIN_SECONDS)
