"""Open the files that commands read and write; "-" is standard input or standard output."""

from __future__ import annotations

import io
import os
import select
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import USAGE_ERROR

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from _typeshed import WriteableBuffer

_POLL_SECONDS: Final = 0.2


class _PolledInput(io.RawIOBase):
    """Standard input whose reads Ctrl-C always ends.

    A signal that comes just before a blocking read is seen only after it, so no read may block for
    long.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        while not select.select([self._descriptor], [], [], _POLL_SECONDS)[0]:
            pass
        return os.readv(self._descriptor, [buffer])


@contextmanager
def open_input(name: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """Open a file for reading; yield it and its size in bytes, None for standard input.

    Raises CommandError when the file cannot be opened.
    """
    if name == "-":
        with io.BufferedReader(_PolledInput(sys.stdin.fileno())) as stdin:
            yield stdin, None
        return
    path = Path(name)
    try:
        file = path.open("rb")
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}", USAGE_ERROR) from error
    with file:
        yield file, path.stat().st_size


def name_line(name: str, number: int) -> str:
    """Return how error messages name a line of a file; "-" is standard input."""
    return f"{'standard input' if name == '-' else name} line {number}"


def read_lines(file: BinaryIO, name: str, limit_bytes: int) -> Iterator[bytes]:
    """Yield the lines of a file with their ends.

    Raises CommandError, which names the line, when one is longer than `limit_bytes` or cannot be
    read. A file without line ends is never read whole.
    """
    number = 0
    while True:
        number += 1
        try:
            line = file.readline(limit_bytes + 1)
        except OSError as error:
            raise CommandError(f"{name_line(name, number)}: {error.strerror}") from error
        if not line:
            return
        if len(line) > limit_bytes:
            raise CommandError(
                f"{name_line(name, number)}: is longer than {limit_bytes:,} bytes: is it JSON "
                "Lines, with one object per line?"
            )
        yield line


@contextmanager
def open_output(name: str) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under its name only when the block succeeds.

    Raises CommandError when the file cannot be written.
    """
    if name == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(name)
    if path.exists() and not path.is_file():  # a device or a pipe, which must not be replaced
        with _name_write_errors(path), path.open("wb") as file:
            yield file
        return
    partial = path.with_name(f"{path.name}.partial")
    with _name_write_errors(path):
        try:
            with partial.open("wb") as file:
                yield file
            partial.rename(path)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def _name_write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}", USAGE_ERROR) from error
