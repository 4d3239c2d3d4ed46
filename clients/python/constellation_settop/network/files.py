"""Files that a host names: keys, claims, certificates and tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from constellation_settop.errors import InvalidArgumentError

MAX_FILE_BYTES: Final = 1 << 20
"""The most that a file of keys, certificates or a token may have."""


def read_limited(path: Path | str) -> bytes:
    """Return the bytes of a file. Raises InvalidArgumentError, also when it is too large.

    A device without end, such as /dev/zero, would take all memory.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InvalidArgumentError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise InvalidArgumentError(f"{path} has more than {MAX_FILE_BYTES:,} bytes")
    return data
