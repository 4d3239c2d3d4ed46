"""What other households contribute to a ranking: the global state, prepared for one catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from constellation_settop.recommending.clusters import ClusterTaste
from constellation_settop.recommending.related import RelatedContent
from constellation_settop.recommending.scores import Scores, scale_to_peak
from constellation_settop.values import GlobalState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from constellation_settop.recommending.catalogue import Catalogue
    from constellation_settop.values import PopularContents, SimilarPattern, Trend

_UNIT: Final = 4096
"""Similarities, and scores of trends, are added up in units of 1/4096."""


class SharedTasteCache:
    """The global state, prepared when a ranking needs it, once for all profiles of a device."""

    def __init__(self) -> None:
        self._load_global_state: Callable[[], GlobalState] = GlobalState
        self._prepared: SharedTaste | None = None

    def use_global_state(self, load_global_state: Callable[[], GlobalState]) -> None:
        """Rank with another global state, which is loaded when the next ranking needs it."""
        self._load_global_state = load_global_state
        self._prepared = None

    def prepare(self, catalogue: Catalogue) -> SharedTaste:
        """Return the global state, prepared for ranking a catalogue."""
        if self._prepared is None or self._prepared.catalogue is not catalogue:
            self._prepared = SharedTaste(catalogue, self._load_global_state())
        return self._prepared


class SharedTaste:
    """The global state, prepared for ranking. Build it again when it changes."""

    def __init__(self, catalogue: Catalogue, state: GlobalState) -> None:
        self.catalogue = catalogue
        """The catalogue for which it is prepared."""
        self.related = RelatedContent(catalogue, state.related.values())
        self.clusters = ClusterTaste(catalogue, state.clusters.values())
        self.similar_support = self._score_similar(state.similar.values())
        """How much similar patterns support each content item that they were learned from."""
        self.trend_by_row: dict[int, Trend] = {}
        """The trend of each catalogue row that has one."""
        self.trend_scores = self._score_trends(state.trends.values())
        """How strongly each content item and its genres trend: up to 1.1 times PEAK."""
        self.regions_by_row: dict[int, str] = {}
        """The region in whose list a catalogue row is; "" for the list of all regions only."""
        self.popular_scores = self._score_popular(state.popular.values())
        """How popular each content item is; up to PEAK."""

    def _score_similar(self, patterns: Iterable[SimilarPattern]) -> Scores:
        support = np.zeros(len(self.catalogue), np.int64)
        for similar in patterns:
            weight = max(0.0, similar.similarity) * min(1.0, similar.pattern.success_rate)
            rows = self.catalogue.find_rows(similar.pattern.content_ids)
            support[rows] += round(_UNIT * weight)
        return scale_to_peak(support)

    def _score_trends(self, trends: Iterable[Trend]) -> Scores:
        scores = np.zeros(len(self.catalogue), np.int64)
        genre_scores = np.zeros(len(self.catalogue), np.int64)
        no_rows = np.empty(0, np.int64)
        for trend in trends:
            score = round(_UNIT * min(max(0.0, trend.score), 1e6))
            if trend.subject.is_genre:
                rows = self.catalogue.rows_by_genre.get(trend.subject.name, no_rows)
                genre_scores[rows] += score
            elif (row := self.catalogue.find_row(trend.subject.name)) is not None:
                scores[row] = score
                self.trend_by_row[row] = trend
        return scale_to_peak(scores) + scale_to_peak(genre_scores) // 10

    def _score_popular(self, lists: Collection[PopularContents]) -> Scores:
        """Return the mean share of households over the lists, each scaled to its first item."""
        total = np.zeros(len(self.catalogue), np.int64)
        for popular in sorted(lists, key=lambda each: each.region):
            rows = self.catalogue.find_all_rows(popular.content_ids)
            households = np.array(popular.households, np.int64)
            total[rows[rows >= 0]] += scale_to_peak(households)[rows >= 0]
            self.regions_by_row |= dict.fromkeys(rows[rows >= 0].tolist(), popular.region)
        return scale_to_peak(total)
