"""Run commands on a pseudo-terminal, to see their output as people do."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.scenarios.processes import COMMAND_DIR
from tests.servers import make_clean_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH = 80
_HEIGHT = 24
_DEADLINE_SECONDS = 20.0
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_MOVEMENTS = re.compile(r"(\x1b\[[0-9;?]*[a-zA-Z]|\r)+")
_MAX_BYTES = 1 << 16


class Terminal:
    """A program on a pseudo-terminal."""

    def __init__(self, process: subprocess.Popen[bytes], screen: int) -> None:
        self.process = process
        self._screen = screen
        self.raw_text = ""
        """Everything that the program wrote, with colours and cursor movements."""

    @property
    def text(self) -> str:
        """What the program wrote, without colours; each cursor movement starts a new line."""
        plain = _COLOURS.sub("", self.raw_text).replace("\r\n", "\n")
        return _MOVEMENTS.sub("\n", plain)

    def press_keys(self, keys: str) -> None:
        os.write(self._screen, keys.encode())

    def read_until(self, text: str, *, times: int = 1) -> None:
        """Return once the program has written a text `times` times."""
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while self.text.count(text) < times:
            assert self._read(deadline), f"it did not write {text!r}: {self.text!r}"

    def read_to_exit(self) -> int:
        """Read until the program ends, and return its exit code."""
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while self._read(deadline):
            pass
        return self.process.wait(_DEADLINE_SECONDS)

    def _read(self, deadline: float) -> bool:
        """Wait for output and read it; return False at the end of output and after the deadline."""
        readable, _, _ = select.select(
            [self._screen], [], [], max(0.0, deadline - time.monotonic())
        )
        try:
            found = os.read(self._screen, _MAX_BYTES) if readable else b""
        except OSError:  # Linux raises this once no process has the terminal open
            found = b""
        self.raw_text += found.decode(errors="replace")
        return bool(found)


@contextmanager
def run_on_terminal(*command: str, **settings: str) -> Iterator[Terminal]:
    """Run a program of ours on a terminal of WIDTH columns, and kill it when the block ends."""
    screen, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", _HEIGHT, WIDTH, 0, 0))
    environment = {**make_clean_environment(), "TERM": "xterm-256color", **settings}
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
        environment.pop(name, None)
    with subprocess.Popen(
        [COMMAND_DIR / command[0], *command[1:]],
        env=environment,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - keys send signals
    ) as process:
        os.close(terminal)
        try:
            yield Terminal(process, screen)
        finally:
            process.kill()
            os.close(screen)
