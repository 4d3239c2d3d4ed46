"""Brain: observes views and recommends content, on the device alone; knows no network."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation_settop.errors import WrongCallError
from constellation_settop.recommending.learning import (
    SUCCESS,
    Learner,
    LearningSettings,
    Watched,
    reward,
)
from constellation_settop.recommending.ranking import (
    Choice,
    OwnTaste,
    Ranking,
    SharedTaste,
    Weights,
    own_taste,
    shared_taste,
)
from constellation_settop.values import (
    SECONDS_PER_HOUR,
    Changes,
    Context,
    GlobalState,
    Learned,
    Pattern,
    Signal,
    View,
    moment_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from constellation_settop.recommending.catalogue import Catalogue

ALREADY_WATCHED: Final = 0.2
"""From this share on, a content is not recommended again."""
SIGNALS_PER_HOUR: Final = 4
MAX_WAITING_SIGNALS: Final = SIGNALS_PER_HOUR * 168


class Brain:
    """A household's taste. Never waits, never raises but for a wrong argument."""

    def __init__(
        self,
        catalogue: Catalogue,
        learned: Sequence[Learned] = (),
        watched: Sequence[str] = (),
        *,
        settings: LearningSettings | None = None,
        weights: Weights | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Go on from what an outbox kept."""
        self.catalogue = catalogue
        self._learner = Learner(learned, settings or LearningSettings())
        self._weights = weights or Weights()
        self._clock = clock
        self._watched = dict.fromkeys(watched)
        self._new_watched: list[str] = []
        self._signals: dict[Signal, None] = {}
        self._signalled: dict[int, int] = {}
        self._global: Callable[[], GlobalState] = GlobalState
        self._own: OwnTaste | None = None
        self._shared: SharedTaste | None = None

    @property
    def patterns(self) -> Sequence[Pattern]:
        return self._learner.patterns()

    def observe(self, view: View) -> float:
        """Learn from a view; return its reward, from 0 to 1. Unknown content teaches nothing."""
        for name in ("watch_percentage", "engagement"):
            if not 0 <= getattr(view, name) <= 1:
                raise WrongCallError(f"{name} must be from 0 to 1, got {getattr(view, name)}")
        moment = moment_of(view.at, self._clock())
        at = int(moment.timestamp())
        gained = reward(view.watch_percentage, view.engagement)
        if view.watch_percentage >= ALREADY_WATCHED and view.content_id not in self._watched:
            self._watched[view.content_id] = None
            self._new_watched.append(view.content_id)
        row = self.catalogue.row(view.content_id)
        if row is None:
            return gained
        watched = Watched(
            view.content_id,
            self.catalogue.embeddings[row],
            view.context or Context.at(moment),
            self.catalogue.content_type(row),
            self.catalogue.genres(row),
            at,
        )
        self._learner.learn(watched, success=gained > SUCCESS)
        self._own = None
        if gained > SUCCESS:
            self._signal(Signal(view.content_id, at // SECONDS_PER_HOUR))
        return gained

    def _signal(self, signal: Signal) -> None:
        if signal in self._signals or self._signalled.get(signal.hour, 0) >= SIGNALS_PER_HOUR:
            return
        self._signals[signal] = None
        self._signalled[signal.hour] = self._signalled.get(signal.hour, 0) + 1
        if len(self._signals) > MAX_WAITING_SIGNALS:
            del self._signals[next(iter(self._signals))]
        if len(self._signalled) > MAX_WAITING_SIGNALS:
            del self._signalled[min(self._signalled)]

    def recommend(self, context: Context | None = None, limit: int = 20) -> list[Choice]:
        """Return up to `limit` contents not watched yet, best first; None is the context of now."""
        if limit < 1:
            raise WrongCallError(f"limit must be at least 1, got {limit}")
        if self._own is None:
            self._own = own_taste(self.catalogue, self.patterns)
        if self._shared is None:
            self._shared = shared_taste(self.catalogue, self._global())
        now = context or Context.at(moment_of(None, self._clock()))
        exclude = np.unique(self.catalogue.rows(self._watched))
        ranking = Ranking(self.catalogue, self._own, self._shared, self._weights)
        return ranking.best(now, exclude, limit)

    def hold(self, held: Callable[[], GlobalState]) -> None:
        """Recommend with this global state from now on; asked for when first needed."""
        self._global = held
        self._shared = None

    def take_changes(self) -> Changes:
        """Return what was learned since the last call, to be made durable."""
        learned, forgotten = self._learner.take_changes()
        signals = sorted(self._signals, key=lambda signal: signal.hour)
        changes = Changes(learned, forgotten, signals, self._new_watched)
        self._signals, self._new_watched = {}, []
        return changes

    def put_back(self, changes: Changes) -> None:
        """Count changes that could not be made durable as not taken."""
        self._learner.put_back(changes.learned, changes.forgotten)
        self._signals = dict.fromkeys(changes.signals) | self._signals
        self._new_watched = [*changes.watched, *self._new_watched]
