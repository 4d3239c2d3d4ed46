"""Position the labels of a plot so that they do not overlap."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

CHARACTER_PIXELS: Final = 6.4
"""The mean width of a character at a font size of 12 pixels."""
LINE_PIXELS: Final = 15.0
"""The height of a label."""
_OFFSET_PIXELS: Final = 13.0
"""The distance between a mark and the middle of its label."""
_MAX_CHARACTERS: Final = 34


@dataclass(frozen=True, slots=True)
class Label:
    """A text and the position of its middle, in pixels from the upper left corner."""

    mark_index: int
    """The index of the mark that it names."""
    text: str
    x: float
    y: float


def shorten(text: str) -> str:
    """Return a text of at most 34 characters; a cut text ends in "…"."""
    return text if len(text) <= _MAX_CHARACTERS else f"{text[: _MAX_CHARACTERS - 1].rstrip()}…"


def place_labels(
    marks: NDArray[np.float64], texts: Sequence[str], size: tuple[int, int]
) -> list[Label]:
    """Return a label above or below each mark that has room for one; the first marks come first.

    `marks` has shape (n, 2), in pixels; `size` is the width and the height of the plot.
    """
    labels: list[Label] = []
    occupied: list[tuple[float, float, float, float]] = []
    for mark_index, ((x, y), text) in enumerate(zip(marks.tolist(), texts, strict=True)):
        half = len(text) * CHARACTER_PIXELS / 2
        middle = min(max(x, half), size[0] - half)
        for offset in (-_OFFSET_PIXELS, _OFFSET_PIXELS):
            bounds = (
                middle - half,
                y + offset - LINE_PIXELS / 2,
                middle + half,
                y + offset + LINE_PIXELS / 2,
            )
            if not any(_is_overlapping(bounds, other) for other in occupied):
                occupied.append(bounds)
                labels.append(Label(mark_index, text, middle, y + offset))
                break
    return labels


def spread_apart(heights: Sequence[float], distance: float, maximum: float) -> list[float]:
    """Return heights moved apart to at least `distance`, none of them above `maximum`.

    Their order stays the same, so that labels do not cross; of equal heights the first becomes the
    highest.
    """
    order = np.lexsort((-np.arange(len(heights)), np.array(heights)))
    positions = np.array(heights, dtype=np.float64)
    for lower, upper in itertools.pairwise(order):
        positions[upper] = max(positions[upper], positions[lower] + distance)
    ceiling = maximum
    for index in order[::-1]:
        positions[index] = min(positions[index], ceiling)
        ceiling = positions[index] - distance
    spread: list[float] = positions.tolist()
    return spread


def _is_overlapping(
    one: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
