"""Liked content as databases store it: without the zeros at the end of a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from constellation.core.rows import LIKED, MAX_LIKED, LikedRows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

_NUMBER_BYTES = LIKED.itemsize // MAX_LIKED


def measure_liked(rows: LikedRows) -> NDArray[np.int64]:
    """Return the bytes of each row up to its last number that is not 0."""
    zeros_at_end = (rows["contents"][:, ::-1] > 0).argmax(axis=1)
    return np.asarray(_NUMBER_BYTES * (MAX_LIKED - zeros_at_end), np.int64)


def pad_liked(rows: Iterable[bytes]) -> LikedRows:
    """Return rows from their stored bytes, none of which is longer than a row."""
    return np.frombuffer(b"".join(row.ljust(LIKED.itemsize, b"\0") for row in rows), LIKED)
