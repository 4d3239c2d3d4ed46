"""A household's own patterns, and how near each content item is to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from constellation.encoding import DIMENSION
from constellation_settop.recommending.catalogue import Directions
from constellation_settop.recommending.scores import (
    compute_nearness,
    look_up_log,
    scale_to_peak,
    to_rate,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from constellation_settop.recommending.catalogue import Catalogue
    from constellation_settop.recommending.scores import Scores
    from constellation_settop.values import Context, DayType, Pattern, TimeOfDay

MAX_ACTIVE_PATTERNS: Final = 16
"""Own patterns that count in one ranking: the strongest ones in the context."""
_OTHER_CONTEXT_TENTHS: Final = 7
"""Tenths of its strength that a pattern of another part of the day, or kind of day, counts."""
_SLOTS: Final = 8
"""Rows by which the table of cosines grows."""


class OwnTaste:
    """A household's own patterns, prepared for ranking.

    The cosines of a pattern with every content item do not depend on the context, so that they are
    kept. After a view, one pattern is compared with the catalogue.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._slot_of: dict[bytes, int] = {}
        self._held: dict[int, Pattern] = {}
        self._cosines = np.empty((0, len(catalogue)), np.int16)
        self._codes = np.empty((0, DIMENSION), np.int8)
        self._scales = np.empty(0, np.float32)
        self._nearness: dict[tuple[bytes, bytes], Scores] = {}
        self.patterns: Sequence[Pattern] = ()
        self._slots = np.empty(0, np.int64)
        self._strengths = np.empty(0, np.int64)

    def update(self, patterns: Sequence[Pattern]) -> None:
        """Use these patterns from now on. One that is the same object as before has not changed."""
        if len(patterns) == len(self.patterns) and all(
            one is other for one, other in zip(patterns, self.patterns, strict=True)
        ):
            return
        present = {each.pattern_id for each in patterns}
        for pattern_id in [each for each in self._slot_of if each not in present]:
            del self._held[self._slot_of.pop(pattern_id)]
        changed = [each for each in patterns if self._find(each) is not each]
        slots = [self._place(each) for each in changed]
        if changed:
            directions = self._catalogue.centre(np.stack([each.embedding for each in changed]))
            self._cosines[slots] = self._catalogue.compute_cosines(directions)
            self._codes[slots], self._scales[slots] = directions.codes, directions.scales
        self.patterns = patterns
        self._nearness = {}
        self._slots = np.array([self._slot_of[each.pattern_id] for each in patterns], np.int64)
        rates = to_rate(np.array([each.success_rate for each in patterns]))
        counts = np.array([each.sample_count for each in patterns], np.int64)
        self._strengths = rates * look_up_log(counts)

    def _find(self, pattern: Pattern) -> Pattern | None:
        slot = self._slot_of.get(pattern.pattern_id)
        return None if slot is None else self._held[slot]

    def _place(self, pattern: Pattern) -> int:
        slot = self._slot_of.get(pattern.pattern_id)
        if slot is None:
            used = set(self._held)
            slot = next(each for each in range(len(used) + 1) if each not in used)
            self._slot_of[pattern.pattern_id] = slot
        if slot >= len(self._scales):
            self._grow()
        self._held[slot] = pattern
        return slot

    def _grow(self) -> None:
        size = len(self._scales) + _SLOTS
        self._cosines = _enlarge(self._cosines, size)
        self._codes = _enlarge(self._codes, size)
        self._scales = _enlarge(self._scales, size)

    def select(self, context: Context) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the numbers of the patterns that count in a context, and their weights.

        They are the strongest ones, the strongest first; its weight is PEAK. A pattern counts less
        for each of its part of the day and its kind of day that is known and differs.
        """
        strengths = self._strengths.copy()
        for number, pattern in enumerate(self.patterns):
            for one, other in (
                (pattern.time_of_day, context.time_of_day),
                (pattern.day_type, context.day_type),
            ):
                if _is_mismatch(one, other):
                    strengths[number] = strengths[number] * _OTHER_CONTEXT_TENTHS // 10
        active = np.argsort(-strengths, kind="stable")[:MAX_ACTIVE_PATTERNS]
        return active, scale_to_peak(strengths[active])

    def compute_nearness(self, active: NDArray[np.int64], weights: NDArray[np.int64]) -> Scores:
        """Return how near each content item is to these patterns, up to PEAK."""
        key = active.tobytes(), weights.tobytes()
        if key not in self._nearness:
            cosines = self._cosines[self._slots[active]]
            self._nearness = {key: compute_nearness(cosines, weights, len(self._catalogue))}
        return self._nearness[key]

    def find_nearest(
        self, row: int, active: NDArray[np.int64], weights: NDArray[np.int64]
    ) -> Pattern:
        """Return the pattern nearest to a content item, of these."""
        cosines = self._cosines[self._slots[active], row].astype(np.int64)
        nearest = int(active[int((cosines * weights).argmax())])
        return self.patterns[nearest]

    def directions(self, active: NDArray[np.int64]) -> Directions:
        """Return the directions of these patterns."""
        slots = self._slots[active]
        return Directions(self._codes[slots], self._scales[slots])


def _enlarge(array: NDArray[Any], size: int) -> NDArray[Any]:
    larger = np.zeros((size, *array.shape[1:]), array.dtype)
    larger[: len(array)] = array
    return larger


def _is_mismatch(one: TimeOfDay | DayType, other: TimeOfDay | DayType) -> bool:
    """Return whether both are known and differ; 0 is ANY."""
    return bool(one and other and one is not other)
