"""LogWriter: log lines to standard error, from a thread, so that nobody waits for them."""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_BYTES: Final = 4 << 20
"""Bytes of lines that may wait; a line beyond them is lost."""
_BATCH_LINES: Final = 256


class LogWriter:
    """A text stream that never blocks and never raises, whatever becomes of its reader.

    A pipe that nobody drains, a full disk or a reader that has gone costs log lines and nothing
    else: they are counted in `lost_lines`. Any thread may write.
    """

    def __init__(
        self,
        descriptor: int,
        *,
        max_bytes: int = MAX_BYTES,
        on_recovered: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Start the thread.

        `on_recovered` is called, in that thread, with the number of lines that were lost since the
        last line that was written, once a line could be written again.
        """
        self.lost_lines = 0
        """Lines that were not written, since the start of the process."""
        self._descriptor = descriptor
        self._max_bytes = max_bytes
        self._on_recovered = on_recovered
        self._reported = 0
        self._lines: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._is_writing = False
        self._changed = threading.Condition()
        threading.Thread(target=self._write_forever, name="log", daemon=True).start()

    def write(self, text: str) -> int:
        """Queue text that ends a line; return its length, as streams do."""
        line = text.encode("utf-8", "backslashreplace")
        with self._changed:
            if self._waiting_bytes + len(line) > self._max_bytes:
                self.lost_lines += 1
            else:
                self._lines.append(line)
                self._waiting_bytes += len(line)
                self._changed.notify_all()
        return len(text)

    def flush(self) -> None:
        """Do nothing: lines are written as soon as their reader takes them."""

    def wait_until_written(self, timeout_seconds: float) -> bool:
        """Wait until every line is written or lost; return False when the time was too short."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._lines and not self._is_writing, timeout_seconds
            )

    def _write_forever(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines)
                count = min(len(self._lines), _BATCH_LINES)
                lines = [self._lines.popleft() for _ in range(count)]
                self._waiting_bytes -= sum(map(len, lines))
                self._is_writing = True
            is_written = self._write_whole(b"".join(lines))
            with self._changed:
                self.lost_lines += 0 if is_written else count
                lost, self._is_writing = self.lost_lines, False
                self._changed.notify_all()
            if is_written and lost > self._reported:
                missed, self._reported = lost - self._reported, lost
                self._on_recovered(missed)

    def _write_whole(self, data: bytes) -> bool:
        """Write everything; return False when the rest of it cannot be written."""
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:  # somebody made the descriptor non-blocking
                select.select([], [self._descriptor], [])
            except OSError:
                time.sleep(0.05)  # a disk that is full is not asked without end
                return False
        return True
