"""Brain: learns from views and recommends content, without any network."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation_settop.errors import InvalidArgumentError
from constellation_settop.recommending.learning import (
    SUCCESS_THRESHOLD,
    Learner,
    LearningSettings,
    Observation,
    compute_reward,
)
from constellation_settop.recommending.ranking import (
    OwnTaste,
    Ranker,
    RankingWeights,
    Recommendation,
    SharedTaste,
    build_own_taste,
    build_shared_taste,
)
from constellation_settop.values import (
    MAX_SIGNALS,
    SECONDS_PER_HOUR,
    SIGNALS_PER_HOUR,
    Context,
    GlobalState,
    LearnedPattern,
    LocalChanges,
    Pattern,
    Signal,
    View,
    to_datetime,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from constellation_settop.recommending.catalogue import Catalogue

WATCHED_THRESHOLD: Final = 0.2
"""A content item is not recommended again once this share of it was watched."""


class Brain:
    """A household's taste: patterns learned from views, and recommendations made with them.

    Usable alone, without a network or a file. It never waits, and raises nothing but
    InvalidArgumentError. Not safe for threads.

    Example:
        brain = Brain(catalogue)
        brain.observe(View("content-42", watch_percentage=0.93, engagement=0.8))
        choices = brain.recommend(limit=20)
    """

    def __init__(
        self,
        catalogue: Catalogue,
        learned_patterns: Sequence[LearnedPattern] = (),
        watched_ids: Sequence[str] = (),
        *,
        settings: LearningSettings | None = None,
        weights: RankingWeights | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Start from nothing, or continue from what an outbox has stored.

        Args:
            catalogue: the content items that can be recommended.
            learned_patterns: see `Outbox.read_learned`.
            watched_ids: see `Outbox.read_watched`.
            settings: None means the defaults.
            weights: None means the defaults.
            clock: returns the time in seconds since 1970.
        """
        self.catalogue = catalogue
        self._learner = Learner(learned_patterns, settings or LearningSettings())
        self._weights = weights or RankingWeights()
        self._clock = clock
        self._watched_ids = dict.fromkeys(watched_ids)
        self._new_watched_ids: list[str] = []
        self._pending_signals: dict[Signal, None] = {}
        self._signal_counts: dict[int, int] = {}
        self._load_global_state: Callable[[], GlobalState] = GlobalState
        self._own_taste: OwnTaste | None = None
        self._shared_taste: SharedTaste | None = None

    @property
    def patterns(self) -> Sequence[Pattern]:
        """The household's patterns as they are now, too poor ones included."""
        return self._learner.patterns()

    def observe(self, view: View) -> float:
        """Learn from a view and return its reward, from 0 to 1.

        The reward is 0.7 times `watch_percentage` plus 0.3 times `engagement`. A content item that
        the catalogue lacks is remembered as watched but teaches nothing. Raises
        InvalidArgumentError for a share outside 0 to 1 or a time outside 1970 to 2106.
        """
        _check_share("watch_percentage", view.watch_percentage)
        _check_share("engagement", view.engagement)
        moment = to_datetime(view.watched_at, self._clock())
        at = int(moment.timestamp())
        view_reward = compute_reward(view.watch_percentage, view.engagement)
        if view.watch_percentage >= WATCHED_THRESHOLD and view.content_id not in self._watched_ids:
            self._watched_ids[view.content_id] = None
            self._new_watched_ids.append(view.content_id)
        row = self.catalogue.find_row(view.content_id)
        if row is None:
            return view_reward
        observation = Observation(
            view.content_id,
            self.catalogue.embeddings[row],
            view.context or Context.from_datetime(moment),
            self.catalogue.content_type(row),
            self.catalogue.genres(row),
            at,
        )
        self._learner.learn(observation, is_success=view_reward > SUCCESS_THRESHOLD)
        self._own_taste = None
        if view_reward > SUCCESS_THRESHOLD:
            self._record_signal(Signal(view.content_id, at // SECONDS_PER_HOUR))
        return view_reward

    def _record_signal(self, signal: Signal) -> None:
        if (
            signal in self._pending_signals
            or self._signal_counts.get(signal.hour, 0) >= SIGNALS_PER_HOUR
        ):
            return
        self._pending_signals[signal] = None
        self._signal_counts[signal.hour] = self._signal_counts.get(signal.hour, 0) + 1
        if len(self._pending_signals) > MAX_SIGNALS:
            del self._pending_signals[next(iter(self._pending_signals))]
        if len(self._signal_counts) > MAX_SIGNALS:
            del self._signal_counts[min(self._signal_counts)]

    def recommend(self, context: Context | None = None, limit: int = 20) -> list[Recommendation]:
        """Return up to `limit` content items that were not watched yet, the best first.

        A context of None means now, in the machine's time zone. Raises InvalidArgumentError when
        `limit` is less than 1.
        """
        if limit < 1:
            raise InvalidArgumentError(f"limit must be at least 1, got {limit}")
        if self._own_taste is None:
            self._own_taste = build_own_taste(self.catalogue, self.patterns)
        if self._shared_taste is None:
            self._shared_taste = build_shared_taste(self.catalogue, self._load_global_state())
        now = context or Context.from_datetime(to_datetime(None, self._clock()))
        watched_rows = np.unique(self.catalogue.find_rows(self._watched_ids))
        ranker = Ranker(self.catalogue, self._own_taste, self._shared_taste, self._weights)
        return ranker.rank(now, watched_rows, limit)

    def use_global_state(self, load_global_state: Callable[[], GlobalState]) -> None:
        """Recommend with another global state from now on.

        `load_global_state` is called once, when the next recommendation needs the state.
        """
        self._load_global_state = load_global_state
        self._shared_taste = None

    def take_changes(self) -> LocalChanges:
        """Return what was learned since the last call, for `Outbox.append`."""
        learned, forgotten = self._learner.take_changes()
        signals = sorted(self._pending_signals, key=lambda signal: signal.hour)
        changes = LocalChanges(learned, forgotten, signals, self._new_watched_ids)
        self._pending_signals, self._new_watched_ids = {}, []
        return changes

    def restore_changes(self, changes: LocalChanges) -> None:
        """Take back changes that could not be saved; the next `take_changes` returns them again."""
        self._learner.restore_changes(changes.learned_patterns, changes.forgotten_ids)
        self._pending_signals = dict.fromkeys(changes.signals) | self._pending_signals
        self._new_watched_ids = [*changes.watched_ids, *self._new_watched_ids]


def _check_share(name: str, share: float) -> None:
    if not 0 <= share <= 1:
        raise InvalidArgumentError(f"{name} must be from 0 to 1, got {share}")
