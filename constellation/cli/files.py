"""Files: where commands read from and write to; "-" is standard input, or output."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from constellation.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO


@contextmanager
def open_input(name: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """Open a file for reading; also yield its size in bytes, None when nobody knows."""
    if name == "-":
        yield sys.stdin.buffer, None
        return
    path = Path(name)
    try:
        file = path.open("rb")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    with file:
        yield file, path.stat().st_size


@contextmanager
def open_output(name: str) -> Iterator[BinaryIO]:
    """Open a file that only appears once it is whole."""
    if name == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(name)
    partial = path.with_name(f"{path.name}.unfinished")
    try:
        with partial.open("wb") as file:
            yield file
        partial.rename(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
