"""What a message costs: the processor time of the event loop, and how long it is held at once.

Time on the clock would say more about the machine than about the message.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class LoopCost:
    """What the event loop did while it was watched, in seconds of the processor."""

    total_seconds: float = 0.0
    longest_seconds: float = 0.0
    """The longest time that one callback or one step of a task held the loop."""
    longest_step: str = ""
    """Which one."""


@contextmanager
def watch_loop(monkeypatch: Any) -> Iterator[LoopCost]:
    """Measure every callback that asyncio's loop runs until the block ends."""
    cost = LoopCost()
    is_over = False
    run = asyncio.Handle._run

    def run_measured(handle: asyncio.Handle) -> None:
        started = time.thread_time()
        run(handle)
        seconds = time.thread_time() - started
        if is_over:  # the block ended in this step: the rest of it is the test's own
            return
        cost.total_seconds += seconds
        if seconds > cost.longest_seconds:
            cost.longest_seconds, cost.longest_step = seconds, repr(handle)

    with monkeypatch.context() as patched:
        patched.setattr(asyncio.Handle, "_run", run_measured)
        yield cost
        is_over = True
