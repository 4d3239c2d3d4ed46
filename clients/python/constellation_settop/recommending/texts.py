"""Texts: a column of strings in two buffers, which may be those of a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray


class Texts(Sequence[str]):
    """A read-only column of strings. Each is decoded when it is asked for.

    Bytes that are no UTF-8, as in a damaged file, become U+FFFD.
    """

    def __init__(self, data: NDArray[np.uint8], offsets: NDArray[np.uint32]) -> None:
        """Use two buffers.

        Args:
            data: the texts in UTF-8, one after another.
            offsets: shape (n + 1,): where each text begins, and where the last one ends.

        Raises ValueError when the offsets do not ascend from 0 to the length of `data`.
        """
        if (
            not len(offsets)
            or offsets[0] != 0
            or offsets[-1] != len(data)
            or (offsets[1:] < offsets[:-1]).any()
        ):
            raise ValueError("the offsets of a column of texts must ascend from 0 to its length")
        self.data = data
        self.offsets = offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"there are {len(self)} texts, got {index}")
        row = index % len(self)
        return (
            self.data[self.offsets[row] : self.offsets[row + 1]].tobytes().decode(errors="replace")
        )


def to_texts(texts: Iterable[str]) -> Texts:
    """Return a column of texts."""
    encoded = [text.encode() for text in texts]
    offsets = np.zeros(len(encoded) + 1, np.uint32)
    np.cumsum([len(each) for each in encoded], out=offsets[1:])
    return Texts(np.frombuffer(b"".join(encoded), np.uint8), offsets)
