"""Views to patterns: online clustering of what a household watched with success."""

from __future__ import annotations

import secrets
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.encoding import DIMENSION, ID_BYTES
from constellation_settop.values import (
    ContentType,
    Context,
    DayType,
    Embedding,
    Learned,
    Pattern,
    TimeOfDay,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

WATCH_WEIGHT: Final = 0.7
ENGAGEMENT_WEIGHT: Final = 0.3
SUCCESS: Final = 0.7
"""A view with a larger reward was a success."""
MAX_GENRES: Final = 8
MAX_CONTENTS: Final = 16
_HISTOGRAM: Final = len(TimeOfDay) + len(DayType) + len(ContentType)
_MEMORY: Final = np.dtype(
    [("sum", "<f4", (DIMENSION,)), ("successes", "<u4"), ("histogram", "<u4", (_HISTOGRAM,))]
)


@dataclass(frozen=True, slots=True)
class LearningSettings:
    """How finely a household's taste is told apart."""

    join_cosine: float = 0.52
    """A view joins the nearest pattern from this cosine on; else it begins a new one.

    Coarser patterns succeed too seldom to be shared, finer ones support too few contents.
    """
    max_patterns: int = 64
    """Beyond, the two most alike become one."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What the learner needs to know of one view."""

    content_id: str
    embedding: Embedding
    context: Context
    content_type: ContentType
    genres: Sequence[str]
    at: int
    """Seconds since 1970."""


def reward(watch_percentage: float, engagement: float) -> float:
    """Return how much a view was liked, from 0 to 1."""
    return WATCH_WEIGHT * watch_percentage + ENGAGEMENT_WEIGHT * engagement


@dataclass(slots=True, eq=False)
class _Taste:
    """One pattern while it is learned."""

    pattern_id: bytes
    created_at: int
    total: NDArray[np.float32] = field(default_factory=lambda: np.zeros(DIMENSION, np.float32))
    successes: int = 0
    sample_count: int = 0
    histogram: NDArray[np.uint32] = field(default_factory=lambda: np.zeros(_HISTOGRAM, np.uint32))
    genres: Counter[str] = field(default_factory=Counter)
    content_ids: list[str] = field(default_factory=list)
    updated_at: int = 0

    def add(self, watched: Watched) -> None:
        """Count a successful view."""
        self.total += watched.embedding
        self.successes += 1
        self.sample_count += 1
        self.histogram[_bins(watched)] += 1
        self.genres.update(watched.genres)
        self.touch(watched)

    def touch(self, watched: Watched) -> None:
        self.updated_at = max(self.updated_at, watched.at)
        if watched.content_id in self.content_ids:
            self.content_ids.remove(watched.content_id)
        self.content_ids = [*self.content_ids, watched.content_id][-MAX_CONTENTS:]

    def absorb(self, other: _Taste) -> None:
        """Become the union of both."""
        self.total += other.total
        self.successes += other.successes
        self.sample_count += other.sample_count
        self.histogram += other.histogram
        self.genres.update(other.genres)
        merged = dict.fromkeys([*self.content_ids, *other.content_ids])
        self.content_ids = list(merged)[-MAX_CONTENTS:]
        self.updated_at = max(self.updated_at, other.updated_at)

    def freeze(self) -> Learned:
        times, days, types = np.split(self.histogram, [len(TimeOfDay), -len(ContentType)])
        pattern = Pattern(
            self.pattern_id,
            _unit(self.total),
            self.successes / self.sample_count,
            self.sample_count,
            TimeOfDay(int(times.argmax())),
            DayType(int(days.argmax())),
            ContentType(int(types.argmax())),
            tuple(genre for genre, _ in self.genres.most_common(MAX_GENRES)),
            tuple(self.content_ids),
            self.created_at,
            self.updated_at,
        )
        memory = np.array((self.total, self.successes, self.histogram), _MEMORY)
        return Learned(pattern, memory.tobytes())


def _bins(watched: Watched) -> list[int]:
    context = watched.context
    days = len(TimeOfDay) + context.day_type
    return [context.time_of_day, days, len(TimeOfDay) + len(DayType) + watched.content_type]


def _unit(total: NDArray[np.float32]) -> Embedding:
    norm = max(float(np.linalg.norm(total)), 1e-6)
    return (total / np.float32(norm)).astype(np.float32)


def _thaw(learned: Learned) -> _Taste:
    pattern = learned.pattern
    taste = _Taste(pattern.pattern_id, pattern.created_at, sample_count=pattern.sample_count)
    taste.content_ids = list(pattern.content_ids)
    taste.genres.update(pattern.genres)
    taste.updated_at = pattern.updated_at
    if len(learned.memory) == _MEMORY.itemsize:
        memory = np.frombuffer(learned.memory, _MEMORY)[0]
        taste.total = memory["sum"].copy()
        taste.successes = int(memory["successes"])
        taste.histogram = memory["histogram"].copy()
    else:
        taste.successes = round(pattern.success_rate * pattern.sample_count)
        taste.total = pattern.embedding * np.float32(max(1, taste.successes))
    return taste


class Learner:
    """A household's patterns, changed view by view. Bounded by `max_patterns`."""

    def __init__(self, learned: Sequence[Learned], settings: LearningSettings) -> None:
        self._settings = settings
        self._tastes = [_thaw(each) for each in learned]
        self._units = np.zeros((settings.max_patterns + 1, DIMENSION), np.float32)
        for row, taste in enumerate(self._tastes[: settings.max_patterns]):
            self._units[row] = _unit(taste.total)
        del self._tastes[settings.max_patterns :]
        self._changed: dict[bytes, None] = {}
        self._forgotten: dict[bytes, None] = {}

    def __len__(self) -> int:
        return len(self._tastes)

    def patterns(self) -> list[Pattern]:
        return [taste.freeze().pattern for taste in self._tastes]

    def learn(self, watched: Watched, *, success: bool) -> None:
        """Count a view: a success shapes the pattern it is near, a failure lowers its rate."""
        row = self._nearest(watched.embedding)
        if row is None and not success:
            return
        if row is None:
            row = self._begin(watched.at)
        taste = self._tastes[row]
        if success:
            taste.add(watched)
            self._units[row] = _unit(taste.total)
        else:
            taste.sample_count += 1
            taste.updated_at = max(taste.updated_at, watched.at)
        self._changed[taste.pattern_id] = None
        if len(self) > self._settings.max_patterns:
            self._merge_two()

    def _nearest(self, embedding: Embedding) -> int | None:
        if not self._tastes:
            return None
        cosines = self._units[: len(self)] @ embedding
        row = int(cosines.argmax())
        return row if cosines[row] >= self._settings.join_cosine else None

    def _begin(self, at: int) -> int:
        self._tastes.append(_Taste(secrets.token_bytes(ID_BYTES), at))
        return len(self) - 1

    def _merge_two(self) -> None:
        """Let the two patterns that are most alike become one."""
        units = self._units[: len(self)]
        cosines = units @ units.T
        np.fill_diagonal(cosines, -2)
        rows = np.unravel_index(int(cosines.argmax()), cosines.shape)
        kept, gone = sorted(int(row) for row in rows)
        lost = self._tastes.pop(gone)
        self._tastes[kept].absorb(lost)
        self._units[gone:-1] = self._units[gone + 1 :].copy()
        self._units[kept] = _unit(self._tastes[kept].total)
        self._changed[self._tastes[kept].pattern_id] = None
        self._changed.pop(lost.pattern_id, None)
        self._forgotten[lost.pattern_id] = None

    def take_changes(self) -> tuple[list[Learned], list[bytes]]:
        """Return what changed and what was forgotten since the last call."""
        changed, forgotten = self._changed, self._forgotten
        self._changed, self._forgotten = {}, {}
        learned = [taste.freeze() for taste in self._tastes if taste.pattern_id in changed]
        return learned, list(forgotten)

    def put_back(self, learned: Sequence[Learned], forgotten: Sequence[bytes]) -> None:
        """Count changes that could not be kept as not taken."""
        self._changed |= {each.pattern.pattern_id: None for each in learned}
        self._forgotten |= dict.fromkeys(forgotten)
