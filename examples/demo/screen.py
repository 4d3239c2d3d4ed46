"""What the demo shows while it runs: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import TaskID

PLAIN_WIDTH: Final = 110
"""Columns where there is no terminal to ask."""
_LINE_SECONDS: Final = 3.0
_BAR_SECONDS: Final = 0.2


class Screen:
    """Prints lines, and keeps one bar below them up to date."""

    def __init__(self) -> None:
        console = Console()
        self.console = console if console.is_terminal else Console(width=PLAIN_WIDTH)
        self._started = time.monotonic()

    def say(self, line: str) -> None:
        """Print one line, with the seconds since the start."""
        self.console.print(
            f"[dim]{self.seconds:5.1f} s[/]  {line}", highlight=False, soft_wrap=True
        )

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Callable[[int, str], None]]:
        """Show progress until the block is left; call what is yielded with (done, what else)."""
        if not self.console.is_terminal:
            yield self._line_now_and_then(title, total)
            return
        columns = (
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            task: TaskID = progress.add_task(title, total=total, note="")
            yield lambda done, note: progress.update(task, completed=done, note=note)

    def _line_now_and_then(self, title: str, total: int) -> Callable[[int, str], None]:
        said = time.monotonic()

        def tell(done: int, note: str) -> None:
            nonlocal said
            if time.monotonic() - said >= _LINE_SECONDS:
                said = time.monotonic()
                self.say(f"{title} {100 * done // max(total, 1)} %  {note}")

        return tell


async def keep_telling(
    tell: Callable[[int, str], None], now: Callable[[], tuple[int, str]]
) -> None:
    """Tell how far it is, again and again. Runs until cancelled."""
    while True:
        tell(*now())
        await asyncio.sleep(_BAR_SECONDS)
