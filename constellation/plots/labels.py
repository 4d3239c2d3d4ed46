"""Labels: where texts go so that they do not cover each other."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

CHARACTER_PIXELS: Final = 6.4
"""The mean width of a letter at 12 pixels."""
LINE_PIXELS: Final = 15.0
_OFFSET_PIXELS: Final = 13.0
_MAX_CHARACTERS: Final = 34


@dataclass(frozen=True, slots=True)
class Label:
    """A text and where its middle is, in pixels from the upper left corner."""

    mark_index: int
    """Which of the marks it names."""
    text: str
    x: float
    y: float


def shorten(text: str) -> str:
    return text if len(text) <= _MAX_CHARACTERS else f"{text[: _MAX_CHARACTERS - 1].rstrip()}…"


def place_labels(
    marks: NDArray[np.float64], texts: Sequence[str], size: tuple[int, int]
) -> list[Label]:
    """Put a label above or below each mark, shape (n, 2) in pixels; those without room get none.

    The first marks choose first.
    """
    labels: list[Label] = []
    taken: list[tuple[float, float, float, float]] = []
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
            if not any(_is_overlapping(bounds, other) for other in taken):
                taken.append(bounds)
                labels.append(Label(mark_index, text, middle, y + offset))
                break
    return labels


def spread_apart(heights: Sequence[float], least: float, highest: float) -> list[float]:
    """Move heights apart until neighbours are `least` from each other, within 0 and `highest`.

    Their order stays, so that lines and labels do not cross; of equal ones the first is highest.
    """
    order = np.lexsort((-np.arange(len(heights)), np.array(heights)))
    positions = np.array(heights, dtype=np.float64)
    for before, after in itertools.pairwise(order):
        positions[after] = max(positions[after], positions[before] + least)
    ceiling = highest
    for index in order[::-1]:
        positions[index] = min(positions[index], ceiling)
        ceiling = positions[index] - least
    moved: list[float] = positions.tolist()
    return moved


def _is_overlapping(
    one: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
