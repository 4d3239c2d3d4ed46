"""Tasks that must not end halfway because their caller went away."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


async def finish_even_if_cancelled(work: Coroutine[Any, Any, T], name: str) -> T:
    """Run `work` to its end in a task of this name, and return its result.

    When the caller is cancelled, for instance because its client went away, it ends at once, and
    the task goes on: a write that has begun must finish.
    """
    return await asyncio.shield(asyncio.create_task(work, name=name))
