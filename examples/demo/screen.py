"""The output while the demo runs: a progress bar on a terminal, lines of text elsewhere."""

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
"""Columns of the output when it is not a terminal."""
_LINE_SECONDS: Final = 3.0
_BAR_SECONDS: Final = 0.2


class Screen:
    """Prints lines, with one progress bar below them."""

    def __init__(self) -> None:
        console = Console()
        self.console = console if console.is_terminal else Console(width=PLAIN_WIDTH)
        self._started = time.monotonic()

    def print_line(self, line: str) -> None:
        """Print one line after the seconds since the start."""
        self.console.print(
            f"[dim]{self.elapsed_seconds:5.1f} s[/]  {line}", highlight=False, soft_wrap=True
        )

    @property
    def elapsed_seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    @contextmanager
    def show_progress(self, title: str, total: int) -> Iterator[Callable[[int, str], None]]:
        """Show progress while the block runs; call the function it yields with (done, note)."""
        if not self.console.is_terminal:
            yield self._print_progress_lines(title, total)
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

    def _print_progress_lines(self, title: str, total: int) -> Callable[[int, str], None]:
        printed_at = time.monotonic()

        def update(done: int, note: str) -> None:
            nonlocal printed_at
            if time.monotonic() - printed_at >= _LINE_SECONDS:
                printed_at = time.monotonic()
                self.print_line(f"{title} {100 * done // max(total, 1)} %  {note}")

        return update


async def update_progress_forever(
    update: Callable[[int, str], None], read_progress: Callable[[], tuple[int, str]]
) -> None:
    """Update the progress at intervals, until cancelled."""
    while True:
        update(*read_progress())
        await asyncio.sleep(_BAR_SECONDS)
