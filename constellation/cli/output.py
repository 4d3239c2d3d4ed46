"""Standard output of a program: a failed write becomes an error that says so."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING

from constellation.cli.errors import CommandError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _StandardOutput(io.FileIO):
    """The descriptor of standard output, which is written to until it first fails."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            # Python flushes standard output at exit, which would fail again
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            if isinstance(error, BrokenPipeError):
                raise
            raise CommandError(f"cannot write to standard output: {error.strerror}") from error


def open_standard_output() -> None:
    """Make `sys.stdout` raise CommandError when it cannot be written, as on a full disk.

    A reader of a pipe that has closed it is still a BrokenPipeError. Characters that the encoding
    of the terminal does not have are written as escapes.
    """
    is_terminal, encoding = sys.stdout.isatty(), sys.stdout.encoding
    raw = _StandardOutput(sys.stdout.fileno(), "w", closefd=False)
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=is_terminal
    )
