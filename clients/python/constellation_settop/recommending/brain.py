"""Brain: learns from views and recommends content, without any network."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from constellation_settop.errors import InvalidArgumentError
from constellation_settop.recommending.arguments import (
    check_content_id,
    check_context,
    check_limit,
    check_texts,
    check_view,
)
from constellation_settop.recommending.history import History
from constellation_settop.recommending.learning import Learner, LearningSettings, Observation
from constellation_settop.recommending.ranking import Ranker, RankingWeights, Recommendation
from constellation_settop.recommending.rewards import (
    SUCCESS_THRESHOLD,
    Feedback,
    compute_reward,
    to_opinion,
)
from constellation_settop.recommending.signals import SignalQueue
from constellation_settop.values import (
    MAX_OPINION,
    SECONDS_PER_HOUR,
    Context,
    GlobalState,
    HistoryEntry,
    LearnedPattern,
    LocalChanges,
    Pattern,
    Signal,
    View,
    to_datetime,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from constellation_settop.recommending.catalogue import Catalogue

log = logging.getLogger("constellation_settop")

WATCHED_THRESHOLD: Final = 0.2
"""A content item is not recommended again once this share of it was watched."""


class Brain:
    """A household's taste: its history, patterns learned from views, and recommendations.

    Usable alone, without a network or a file. It never waits, and raises nothing but
    InvalidArgumentError. Not safe for threads.

    Example:
        brain = Brain(catalogue)
        brain.observe(View("content-42", watch_percentage=0.93))
        choices = brain.recommend(limit=20)
    """

    def __init__(  # noqa: PLR0913  # one argument for each thing that an outbox stores
        self,
        catalogue: Catalogue,
        learned_patterns: Sequence[LearnedPattern] = (),
        watched_ids: Sequence[str] = (),
        history: Sequence[HistoryEntry] = (),
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
            history: see `Outbox.read_history`.
            settings: None means the defaults.
            weights: None means the defaults.
            clock: returns the time in seconds since 1970.
        """
        self._settings = settings or LearningSettings()
        self._learner = Learner(learned_patterns, self._settings)
        self._clock = clock
        self._watched_ids = dict.fromkeys(watched_ids)
        self._new_watched_ids: list[str] = []
        self._signals = SignalQueue()
        self._ranker = Ranker(catalogue, weights or RankingWeights())
        self._ranker.exclude(self._watched_ids)
        self.history = History(history)
        """What the household liked and disliked. It stays on the device."""
        self.unknown_content_count = 0
        """Calls of `observe` and `feedback` so far that named content the catalogue lacked."""

    def make_sibling(
        self,
        learned_patterns: Sequence[LearnedPattern] = (),
        watched_ids: Sequence[str] = (),
        history: Sequence[HistoryEntry] = (),
    ) -> Brain:
        """Return the brain of another profile of the device, which has a taste of its own.

        It shares the catalogue, the global state and the bound of signals in an hour.
        """
        sibling = Brain(
            self.catalogue,
            learned_patterns,
            history=history,
            settings=self._settings,
            clock=self._clock,
        )
        sibling._signals = self._signals.make_sibling()
        sibling._ranker = self._ranker.make_sibling()
        sibling._watched_ids = dict.fromkeys(watched_ids)
        sibling._ranker.exclude(watched_ids)
        return sibling

    @property
    def catalogue(self) -> Catalogue:
        """The content items that can be recommended."""
        return self._ranker.catalogue

    @property
    def patterns(self) -> Sequence[Pattern]:
        """The household's patterns as they are now, including those too poor to be shared."""
        return self._learner.patterns()

    @property
    def pattern_count(self) -> int:
        """How many patterns there are."""
        return len(self._learner)

    def merge_most_similar(self) -> None:
        """Merge the two patterns that are most similar; there must be two."""
        self._learner.merge_most_similar()

    def observe(self, view: View) -> float:
        """Learn from a view and return its reward, from 0 to 1.

        The reward is 0.7 times `watch_percentage` plus 0.3 times `engagement`, or
        `watch_percentage` alone when the engagement is unknown. A content item that the catalogue
        lacks is remembered as watched but teaches nothing. Raises InvalidArgumentError for a share
        outside 0 to 1 or a time outside 1970 to 2106.
        """
        check_view(view)
        reward = compute_reward(view.watch_percentage, view.engagement)
        moment = to_datetime(view.watched_at, self._clock())
        if view.watch_percentage >= WATCHED_THRESHOLD:
            self._exclude(view.content_id)
        at = int(moment.timestamp())
        context = view.context or Context.from_datetime(moment)
        is_known = self._learn(view.content_id, to_opinion(reward), at, context)
        if is_known and reward > SUCCESS_THRESHOLD:
            self._signals.record(Signal(view.content_id, at // SECONDS_PER_HOUR))
        return reward

    def feedback(self, content_id: str, feedback: Feedback) -> None:
        """Learn what the household says about a content item.

        What is disliked or hidden is not recommended again. Only LIKED and DISLIKED change the
        taste, and only for content that the catalogue has. Raises InvalidArgumentError for anything
        but a Feedback.
        """
        if not isinstance(feedback, Feedback):
            raise InvalidArgumentError(
                f"feedback must be Feedback.LIKED, DISLIKED or HIDDEN, got {feedback!r}"
            )
        check_content_id(content_id)
        if feedback is not Feedback.LIKED:
            self._exclude(content_id)
        if feedback is Feedback.HIDDEN:
            return
        moment = to_datetime(None, self._clock())
        opinion = MAX_OPINION if feedback is Feedback.LIKED else -MAX_OPINION
        context = Context.from_datetime(moment)
        self._learn(content_id, opinion, int(moment.timestamp()), context)

    def _exclude(self, content_id: str) -> None:
        if content_id not in self._watched_ids:
            self._watched_ids[content_id] = None
            self._new_watched_ids.append(content_id)
            self._ranker.exclude([content_id])

    def _learn(self, content_id: str, opinion: int, at: int, context: Context) -> bool:
        """Learn an opinion; return False for content that the catalogue lacks."""
        if self.catalogue.find_row(content_id) is None:
            self._record_unknown(content_id)
            return False
        entry = HistoryEntry(content_id, opinion, at, context.time_of_day, context.day_type)
        self.history.record(entry)
        if opinion <= 0:
            self._signals.remove(content_id)
        self._learn_pattern(entry)
        return True

    def _record_unknown(self, content_id: str) -> None:
        self.unknown_content_count += 1
        if self.unknown_content_count == 1:
            log.warning(
                "the catalogue lacks %r: views of unknown content teach nothing; "
                "compare content ids with those of the catalogue (this is said once)",
                content_id,
            )

    def _learn_pattern(self, entry: HistoryEntry) -> None:
        row = self.catalogue.find_row(entry.content_id)
        if row is None:  # the catalogue has lost it since
            return
        observation = Observation(
            entry.content_id,
            self.catalogue.embedding(row),
            Context(entry.time_of_day, entry.day_type),
            self.catalogue.content_type(row),
            self.catalogue.genres(row),
            entry.watched_at,
        )
        self._learner.learn(observation, is_success=entry.opinion > 0)

    def forget(self, content_id: str) -> None:
        """Forget a content item, as if it had never been watched: it may be recommended again.

        The patterns are learned anew from the history without it.
        """
        check_content_id(content_id)
        self.history.remove([content_id])
        self._signals.remove(content_id)
        self._watched_ids.pop(content_id, None)
        self._new_watched_ids = [each for each in self._new_watched_ids if each != content_id]
        self._ranker.include([content_id])
        self._learner.forget_everything()
        for entry in self.history.entries:
            self._learn_pattern(entry)

    def forget_everything(self) -> None:
        """Forget all that the household watched and all that was learned from it."""
        self.history = History()
        self._signals.clear()
        self._watched_ids, self._new_watched_ids = {}, []
        self._learner.forget_everything()
        self._ranker.include_everything()
        self.take_changes()

    def recommend(
        self,
        context: Context | None = None,
        limit: int = 20,
        *,
        exclude: Collection[str] = (),
        genres: Collection[str] | None = None,
        explain: bool = True,
    ) -> list[Recommendation]:
        """Return up to `limit` content items that were not watched yet, the best first.

        Args:
            context: None means now, in the machine's time zone.
            limit: the most to return; at least 1.
            exclude: content ids to leave out this time.
            genres: return only content of at least one of these genres; None means any content.
            explain: False leaves the reasons empty.

        Raises InvalidArgumentError when `limit` is less than 1, or when `exclude` or `genres` is a
        single text.
        """
        check_context(context)
        check_limit(limit)
        check_texts("exclude", exclude)
        check_texts("genres", genres)
        now = context or Context.from_datetime(to_datetime(None, self._clock()))
        self._ranker.use_taste(self._learner.patterns(), self.history)
        return self._ranker.rank(now, limit, exclude=exclude, genres=genres, explain=explain)

    def use_global_state(self, load_global_state: Callable[[], GlobalState]) -> None:
        """Recommend with another global state from now on.

        `load_global_state` is called once, when the next recommendation needs the state.
        """
        self._ranker.use_global_state(load_global_state)

    def use_catalogue(self, catalogue: Catalogue) -> None:
        """Recommend from another catalogue from now on. What was learned stays."""
        self._ranker = self._ranker.with_catalogue(catalogue, self._watched_ids)

    def take_changes(self) -> LocalChanges:
        """Return what was learned since the last call, for `Outbox.append`."""
        learned, forgotten = self._learner.take_changes()
        watched_ids, self._new_watched_ids = self._new_watched_ids, []
        history, withdrawn_ids = self.history.take_changes()
        return LocalChanges(
            learned, forgotten, self._signals.take(), watched_ids, history, withdrawn_ids
        )

    def restore_changes(self, changes: LocalChanges) -> None:
        """Take back changes that could not be saved; the next `take_changes` returns them again."""
        self._learner.restore_changes(changes.learned_patterns, changes.forgotten_ids)
        self._signals.restore(changes.signals)
        self._new_watched_ids = [*changes.watched_ids, *self._new_watched_ids]
        self.history.restore_changes(changes.history, changes.withdrawn_ids)
