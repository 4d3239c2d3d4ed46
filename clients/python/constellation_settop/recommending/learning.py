"""Learning: online clustering that turns a household's views into patterns."""

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
    LearnedPattern,
    Pattern,
    TimeOfDay,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MAX_GENRES: Final = 8
MAX_CONTENT_IDS: Final = 16
_SPARE_ROWS: Final = 8
"""Rows by which the table of embeddings grows."""
_HISTOGRAM_BINS: Final = len(TimeOfDay) + len(DayType) + len(ContentType)
_STATE_DTYPE: Final = np.dtype(
    [("sum", "<f4", (DIMENSION,)), ("successes", "<u4"), ("histogram", "<u4", (_HISTOGRAM_BINS,))]
)


@dataclass(frozen=True, slots=True)
class LearningSettings:
    """How finely a household's views are divided into patterns."""

    join_cosine: float = 0.52
    """A view joins the nearest pattern when their cosine is at least this.

    Otherwise a successful view begins a new pattern. A lower value makes coarser patterns, which
    succeed too seldom to be shared; a higher one makes finer patterns, which are learned from too
    few content items.
    """
    max_patterns: int = 64
    """The most patterns that a device keeps. Beyond it, the two most similar ones are merged.

    Several profiles share the number: the one with the most patterns merges two of its own.
    """


@dataclass(frozen=True, slots=True)
class Observation:
    """One view of a content item, as the learner needs it."""

    content_id: str
    embedding: Embedding
    context: Context
    content_type: ContentType
    genres: Sequence[str]
    watched_at: int
    """Seconds since 1970."""


@dataclass(slots=True, eq=False)
class _PatternState:
    """One pattern while it is being learned."""

    pattern_id: bytes
    created_at: int
    embedding_sum: NDArray[np.float32] = field(
        default_factory=lambda: np.zeros(DIMENSION, np.float32)
    )
    successes: int = 0
    sample_count: int = 0
    histogram: NDArray[np.uint32] = field(
        default_factory=lambda: np.zeros(_HISTOGRAM_BINS, np.uint32)
    )
    genres: Counter[str] = field(default_factory=Counter)
    content_ids: list[str] = field(default_factory=list)
    updated_at: int = 0
    pattern: Pattern | None = None
    """The pattern as it is now; None until somebody asks, after each change."""

    def add_success(self, observation: Observation) -> None:
        """Count a successful view."""
        self.embedding_sum += observation.embedding
        self.successes += 1
        self.sample_count += 1
        self.histogram[_to_bins(observation)] += 1
        self.genres.update(observation.genres)
        self._record_content(observation)

    def _record_content(self, observation: Observation) -> None:
        self.updated_at = max(self.updated_at, observation.watched_at)
        if observation.content_id in self.content_ids:
            self.content_ids.remove(observation.content_id)
        self.content_ids = [*self.content_ids, observation.content_id][-MAX_CONTENT_IDS:]

    def merge(self, other: _PatternState) -> None:
        """Add the views of another pattern to this one."""
        self.embedding_sum += other.embedding_sum
        self.successes += other.successes
        self.sample_count += other.sample_count
        self.histogram += other.histogram
        self.genres.update(other.genres)
        merged = dict.fromkeys([*self.content_ids, *other.content_ids])
        self.content_ids = list(merged)[-MAX_CONTENT_IDS:]
        self.updated_at = max(self.updated_at, other.updated_at)

    def to_pattern(self) -> Pattern:
        """Return the pattern as it is now: the same object as long as nothing has changed."""
        if self.pattern is None:
            self.pattern = self._build_pattern()
        return self.pattern

    def _build_pattern(self) -> Pattern:
        times, days, types = np.split(self.histogram, [len(TimeOfDay), -len(ContentType)])
        return Pattern(
            self.pattern_id,
            _normalize(self.embedding_sum),
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

    def to_learned_pattern(self) -> LearnedPattern:
        learner_state = np.array((self.embedding_sum, self.successes, self.histogram), _STATE_DTYPE)
        return LearnedPattern(self.to_pattern(), learner_state.tobytes())


def _to_bins(observation: Observation) -> list[int]:
    context = observation.context
    day_bin = len(TimeOfDay) + context.day_type
    return [context.time_of_day, day_bin, len(TimeOfDay) + len(DayType) + observation.content_type]


def _normalize(total: NDArray[np.float32]) -> Embedding:
    norm = max(float(np.linalg.norm(total)), 1e-6)
    return (total / np.float32(norm)).astype(np.float32)


def _from_learned_pattern(learned: LearnedPattern) -> _PatternState:
    pattern = learned.pattern
    state = _PatternState(pattern.pattern_id, pattern.created_at, sample_count=pattern.sample_count)
    state.content_ids = list(pattern.content_ids)
    state.genres.update(pattern.genres)
    state.updated_at = pattern.updated_at
    if len(learned.learner_state) == _STATE_DTYPE.itemsize:
        record = np.frombuffer(learned.learner_state, _STATE_DTYPE)[0]
        state.embedding_sum = record["sum"].copy()
        state.successes = int(record["successes"])
        state.histogram = record["histogram"].copy()
    else:
        state.successes = round(pattern.success_rate * pattern.sample_count)
        state.embedding_sum = pattern.embedding * np.float32(max(1, state.successes))
    return state


class Learner:
    """A household's patterns, which change with each view. There are at most `max_patterns`."""

    def __init__(self, learned: Sequence[LearnedPattern], settings: LearningSettings) -> None:
        self._settings = settings
        self._states = [_from_learned_pattern(each) for each in learned]
        del self._states[settings.max_patterns :]
        self._unit_vectors = np.zeros((len(self._states) + _SPARE_ROWS, DIMENSION), np.float32)
        for row, state in enumerate(self._states):
            self._unit_vectors[row] = _normalize(state.embedding_sum)
        self._changed_ids: dict[bytes, None] = {}
        self._forgotten_ids: dict[bytes, None] = {}

    def __len__(self) -> int:
        return len(self._states)

    def patterns(self) -> list[Pattern]:
        """Return every pattern as it is now."""
        return [state.to_pattern() for state in self._states]

    def learn(self, observation: Observation, *, is_success: bool) -> None:
        """Learn from one view.

        A success joins the nearest pattern, or begins a new one when none is near enough. A failure
        lowers the success rate of the nearest pattern, and is ignored when none is near enough.
        """
        row = self._find_nearest(observation.embedding)
        if row is None and not is_success:
            return
        if row is None:
            row = self._add_pattern(observation.watched_at)
        state = self._states[row]
        if is_success:
            state.add_success(observation)
            self._unit_vectors[row] = _normalize(state.embedding_sum)
        else:
            state.sample_count += 1
            state.updated_at = max(state.updated_at, observation.watched_at)
        self._record_change(state)
        if len(self) > self._settings.max_patterns:
            self.merge_most_similar()

    def _record_change(self, state: _PatternState) -> None:
        state.pattern = None
        self._changed_ids[state.pattern_id] = None

    def _find_nearest(self, embedding: Embedding) -> int | None:
        if not self._states:
            return None
        cosines = self._unit_vectors[: len(self)] @ embedding
        row = int(cosines.argmax())
        return row if cosines[row] >= self._settings.join_cosine else None

    def _add_pattern(self, created_at: int) -> int:
        if len(self) == len(self._unit_vectors):
            spare = np.zeros((_SPARE_ROWS, DIMENSION), np.float32)
            self._unit_vectors = np.concatenate([self._unit_vectors, spare])
        self._states.append(_PatternState(secrets.token_bytes(ID_BYTES), created_at))
        return len(self) - 1

    def merge_most_similar(self) -> None:
        """Merge the two patterns with the largest cosine; the first of them keeps its id."""
        units = self._unit_vectors[: len(self)]
        cosines = units @ units.T
        np.fill_diagonal(cosines, -2)
        rows = np.unravel_index(int(cosines.argmax()), cosines.shape)
        kept_row, removed_row = sorted(int(row) for row in rows)
        removed_state = self._states.pop(removed_row)
        self._states[kept_row].merge(removed_state)
        self._unit_vectors[removed_row:-1] = self._unit_vectors[removed_row + 1 :].copy()
        self._unit_vectors[kept_row] = _normalize(self._states[kept_row].embedding_sum)
        self._record_change(self._states[kept_row])
        self._changed_ids.pop(removed_state.pattern_id, None)
        self._forgotten_ids[removed_state.pattern_id] = None

    def forget_everything(self) -> None:
        """Forget every pattern."""
        for state in self._states:
            self._changed_ids.pop(state.pattern_id, None)
            self._forgotten_ids[state.pattern_id] = None
        self._states.clear()

    def take_changes(self) -> tuple[list[LearnedPattern], list[bytes]]:
        """Return the patterns changed, and the ids forgotten, since the last call."""
        changed, forgotten = self._changed_ids, self._forgotten_ids
        self._changed_ids, self._forgotten_ids = {}, {}
        learned = [
            state.to_learned_pattern() for state in self._states if state.pattern_id in changed
        ]
        return learned, list(forgotten)

    def restore_changes(
        self, learned: Sequence[LearnedPattern], forgotten: Sequence[bytes]
    ) -> None:
        """Take back changes that could not be saved; the next `take_changes` returns them again."""
        self._changed_ids |= {each.pattern.pattern_id: None for each in learned}
        self._forgotten_ids |= dict.fromkeys(forgotten)
