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
_AWAY_PIXELS: Final = 13.0
_LONGEST: Final = 34


@dataclass(frozen=True, slots=True)
class Label:
    """A text and where its middle is, in pixels from the upper left corner."""

    place: int
    """Which of the marks it names."""
    text: str
    x: float
    y: float


def shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1].rstrip()}…"


def place_labels(
    marks: NDArray[np.float64], texts: Sequence[str], size: tuple[int, int]
) -> list[Label]:
    """Put a label above or below each mark, shape (n, 2) in pixels; those without room get none.

    The first marks choose first.
    """
    labels: list[Label] = []
    taken: list[tuple[float, float, float, float]] = []
    for place, ((x, y), text) in enumerate(zip(marks.tolist(), texts, strict=True)):
        half = len(text) * CHARACTER_PIXELS / 2
        middle = min(max(x, half), size[0] - half)
        for away in (-_AWAY_PIXELS, _AWAY_PIXELS):
            box = (
                middle - half,
                y + away - LINE_PIXELS / 2,
                middle + half,
                y + away + LINE_PIXELS / 2,
            )
            if not any(_overlap(box, other) for other in taken):
                taken.append(box)
                labels.append(Label(place, text, middle, y + away))
                break
    return labels


def spread(heights: Sequence[float], least: float, highest: float) -> list[float]:
    """Move heights apart until neighbours are `least` from each other, within 0 and `highest`.

    Their order stays, so that lines and labels do not cross; of equal ones the first is highest.
    """
    order = np.lexsort((-np.arange(len(heights)), np.array(heights)))
    places = np.array(heights, dtype=np.float64)
    for before, after in itertools.pairwise(order):
        places[after] = max(places[after], places[before] + least)
    ceiling = highest
    for at in order[::-1]:
        places[at] = min(places[at], ceiling)
        ceiling = places[at] - least
    moved: list[float] = places.tolist()
    return moved


def _overlap(
    one: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
