"""Open the files that commands read and write; "-" is standard input or standard output."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import USAGE_ERROR

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO


@contextmanager
def open_input(name: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """Open a file for reading; yield it and its size in bytes, None for standard input.

    Raises CommandError when the file cannot be opened.
    """
    if name == "-":
        yield sys.stdin.buffer, None
        return
    path = Path(name)
    try:
        file = path.open("rb")
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}", USAGE_ERROR) from error
    with file:
        yield file, path.stat().st_size


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
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("wb") as file:
            yield file
        partial.rename(path)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}", USAGE_ERROR) from error
    finally:
        partial.unlink(missing_ok=True)
