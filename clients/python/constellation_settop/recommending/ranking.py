"""Ranking: scores every content item of the catalogue from all that a device knows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation_settop.errors import InvalidArgumentError
from constellation_settop.recommending.diversity import POOL_FACTOR, diversify
from constellation_settop.recommending.own_taste import OwnTaste
from constellation_settop.recommending.reasons import (
    explain_cluster,
    explain_own,
    explain_popular,
    explain_related,
    explain_trend,
)
from constellation_settop.recommending.related import HALF_LIFE, compute_evidence
from constellation_settop.recommending.scores import PEAK
from constellation_settop.recommending.shared_taste import SharedTasteCache

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from numpy.typing import NDArray

    from constellation_settop.recommending.catalogue import Catalogue, Rows
    from constellation_settop.recommending.history import History
    from constellation_settop.recommending.scores import Scores
    from constellation_settop.recommending.shared_taste import SharedTaste
    from constellation_settop.values import Context, GlobalState, Pattern

_WEIGHT_UNIT: Final = 1024
"""Weights of sources are used in units of 1/1024."""


class Source(IntEnum):
    """What recommends a content item; the numbers are rows of a score table."""

    RELATED = 0
    OWN_NEARNESS = 1
    SIMILAR_SUPPORT = 2
    CLUSTER_SUPPORT = 3
    TREND = 4
    POPULAR = 5


@dataclass(frozen=True, slots=True)
class RankingWeights:
    """The most that each source adds to the score of a content item.

    A weight of 0 turns the source off. `python -m tools.fit_ranking` learned the defaults.
    """

    related: float = 1.0
    """For what households liked who liked what this household liked."""
    own_nearness: float = 0.4
    """For content items near the household's own patterns."""
    similar_support: float = 0.5
    """For content items that similar patterns of other devices were learned from.

    It is divided by the number of liked content items that the device has related content of: with
    that, similar patterns know nothing better.
    """
    cluster_support: float = 0.03
    """For content items that clusters were learned from; divided like `similar_support`."""
    trend: float = 0.03
    """For content items, and genres, that many devices watch now. Genres may add a tenth more."""
    popular: float = 3.0
    """For popular content, divided by the number of content items that the household liked."""

    @classmethod
    def only_signed(cls) -> RankingWeights:
        """Return weights for devices that do not trust their shard, and pin the federation's keys.

        They rank by the household's own patterns and by lists that the federation signed. What a
        shard could make up, which is most of what makes recommendations good, counts nothing.
        """
        return cls(related=0.0, similar_support=0.0, cluster_support=0.0, trend=0.0)

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not 0 <= value <= _WEIGHT_UNIT:
                raise InvalidArgumentError(f"{name} must be from 0 to 1024, got {value}")


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One content item to offer."""

    content_id: str
    score: float
    """Larger is better. Scores are comparable within one list of recommendations."""
    reason: str
    """A short sentence for the viewer, such as "Because you watched Alien"; "" if not wanted."""


@dataclass(frozen=True, slots=True, eq=False)
class ScoreTable:
    """What each source adds to the score of each content item, and what that is made of."""

    sources: NDArray[np.int64]
    """Shape (len(Source), contents)."""
    active: NDArray[np.int64]
    """The own patterns that count."""
    pattern_weights: NDArray[np.int64]
    """The weights of `active`."""
    cluster_weights: NDArray[np.int64]
    """The weight of each cluster."""


class Ranker:
    """Ranks one catalogue for one household. The same values always give the same answer."""

    def __init__(
        self,
        catalogue: Catalogue,
        weights: RankingWeights,
        shared: SharedTasteCache | None = None,
    ) -> None:
        self.catalogue = catalogue
        """The content items that can be recommended."""
        self.own = OwnTaste(catalogue)
        """The household's patterns."""
        self._weights = weights
        self._is_excluded = np.zeros(len(catalogue), np.bool_)
        self._shared = shared or SharedTasteCache()
        self._history: History | None = None
        self._weighed: tuple[int, dict[str, int], int] | None = None

    @property
    def shared(self) -> SharedTaste:
        """What other households contribute."""
        return self._shared.prepare(self.catalogue)

    def use_global_state(self, load_global_state: Callable[[], GlobalState]) -> None:
        """Rank with another global state, which is loaded when the next ranking needs it."""
        self._shared.use_global_state(load_global_state)

    def use_taste(self, patterns: Sequence[Pattern], history: History) -> None:
        """Rank for these patterns and this history."""
        self.own.update(patterns)
        if history is not self._history:
            self._history, self._weighed = history, None

    def with_catalogue(self, catalogue: Catalogue, excluded_ids: Iterable[str]) -> Ranker:
        """Return a ranker of another catalogue that knows what this one knows."""
        ranker = Ranker(catalogue, self._weights, self._shared)
        ranker.exclude(excluded_ids)
        return ranker

    def make_sibling(self) -> Ranker:
        """Return a ranker for another profile of the device, which shares the global state."""
        return Ranker(self.catalogue, self._weights, self._shared)

    def exclude(self, content_ids: Iterable[str]) -> None:
        """Leave these content items out from now on."""
        self._is_excluded[self.catalogue.find_rows(content_ids)] = True

    def include(self, content_ids: Iterable[str]) -> None:
        """Leave these content items out no longer."""
        self._is_excluded[self.catalogue.find_rows(content_ids)] = False

    def include_everything(self) -> None:
        """Leave nothing out any longer."""
        self._is_excluded[:] = False

    def rank(
        self,
        context: Context,
        limit: int,
        *,
        exclude: Collection[str] = (),
        genres: Collection[str] | None = None,
        explain: bool = True,
    ) -> list[Recommendation]:
        """Return up to `limit` content items, the best first; see `Brain.recommend`."""
        candidates = self._find_candidates(exclude, genres)
        if not len(candidates):
            return []
        table = self.compute_scores(context)
        totals = table.sources.sum(axis=0)
        pool = self._select_best(totals, candidates, POOL_FACTOR * limit)
        return [
            Recommendation(
                self.catalogue.content_ids[row],
                float(totals[row]) / (_WEIGHT_UNIT * PEAK),
                self._explain(int(row), table) if explain else "",
            )
            for row in diversify(self.catalogue, pool, limit)
        ]

    def _find_candidates(self, exclude: Collection[str], genres: Collection[str] | None) -> Rows:
        allowed = ~self._is_excluded
        if genres is not None:
            groups = [self.catalogue.rows_by_genre.get(genre) for genre in genres]
            is_wanted = np.zeros(len(allowed), np.bool_)
            for rows in groups:
                if rows is not None:
                    is_wanted[rows] = True
            allowed &= is_wanted
        allowed[self.catalogue.find_rows(exclude)] = False
        return np.flatnonzero(allowed)

    def _select_best(self, totals: Scores, candidates: Rows, limit: int) -> Rows:
        """Return the rows with the largest totals, the best first; ties go by content id."""
        # One distinct key for each row, so that the answer does not depend on how ties are broken.
        keys = totals[candidates] * len(totals) - self.catalogue.id_ranks[candidates]
        if limit < len(candidates):
            best = np.argpartition(-keys, limit - 1)[:limit]
            candidates, keys = candidates[best], keys[best]
        return candidates[np.argsort(-keys)]

    def compute_scores(self, context: Context) -> ScoreTable:
        """Return what each source adds to the score of each content item."""
        weights, shared = self._weights, self.shared
        active, pattern_weights = self.own.select(context)
        cluster_weights = shared.clusters.compute_weights(self.own.directions(active))
        evidence, liked = self._weigh_history()
        related_count = max(1, shared.related.count_sources(evidence) if weights.related else 0)
        scores: dict[Source, tuple[float, Scores]] = {
            Source.RELATED: (
                weights.related,
                shared.related.score(evidence),
            ),
            Source.OWN_NEARNESS: (
                weights.own_nearness,
                self.own.compute_nearness(active, pattern_weights),
            ),
            Source.SIMILAR_SUPPORT: (
                weights.similar_support / related_count,
                shared.similar_support,
            ),
            Source.CLUSTER_SUPPORT: (
                weights.cluster_support / related_count,
                shared.clusters.compute_support(cluster_weights),
            ),
            Source.TREND: (weights.trend, shared.trend_scores),
            Source.POPULAR: (weights.popular / max(1, liked), shared.popular_scores),
        }
        table = np.empty((len(Source), len(self.catalogue)), np.int64)
        for source, (weight, values) in scores.items():
            np.multiply(values, round(_WEIGHT_UNIT * weight), out=table[source])
        return ScoreTable(table, active, pattern_weights, cluster_weights)

    def _weigh_history(self) -> tuple[dict[str, int], int]:
        """Return what each entry of the history counts, and how many of them were liked."""
        if self._history is None:
            return {}, 0
        if self._weighed is None or self._weighed[0] != self._history.revision:
            entries = self._history.entries
            evidence = compute_evidence(entries, HALF_LIFE)
            liked = sum(entry.opinion > 0 for entry in entries)
            self._weighed = self._history.revision, evidence, liked
        return self._weighed[1:]

    def _explain(self, row: int, table: ScoreTable) -> str:  # noqa: PLR0911  # one for each source
        """Say which source recommends a content item most, and on what grounds."""
        sources = table.sources[:, row]
        if sources.max() <= 0:
            return "New to you"
        match Source(int(sources.argmax())):
            case Source.RELATED:
                return explain_related(self.catalogue, self.shared, row)
            case Source.OWN_NEARNESS:
                nearest = self.own.find_nearest(row, table.active, table.pattern_weights)
                return explain_own(self.catalogue, nearest)
            case Source.SIMILAR_SUPPORT:
                return "Watched by households with your taste"
            case Source.CLUSTER_SUPPORT:
                clusters = self.shared.clusters
                return explain_cluster(clusters.find_main_supporter(row, table.cluster_weights))
            case Source.TREND:
                return explain_trend(self.shared, row)
            case Source.POPULAR:
                return explain_popular(self.shared, row)
