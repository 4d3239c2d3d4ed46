"""Ranking: scores content from own patterns and the global state, and gives each a reason."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.encoding import DIMENSION
from constellation_settop.recommending.clusters import ClusterTaste, build_cluster_taste
from constellation_settop.recommending.scores import (
    Nearness,
    Scores,
    compute_nearness,
    scale_to_one,
)
from constellation_settop.values import Scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from constellation_settop.recommending.catalogue import Catalogue, Rows
    from constellation_settop.values import (
        Cluster,
        Context,
        DayType,
        GlobalState,
        Pattern,
        TimeOfDay,
        Trend,
    )

MAX_ACTIVE_PATTERNS: Final = 16
"""Own patterns that count in one ranking: the strongest ones in the context."""
OTHER_CONTEXT_FACTOR: Final = 0.7
"""Factor on the strength of a pattern learned at another part of the day, or kind of day."""

GENRE_TREND_SHARE: Final = np.float32(0.1)
"""What the strongest trend of a genre counts, where that of a content item counts 1."""


class Source(IntEnum):
    """What recommends a content item; the numbers are rows of a score table."""

    SIMILAR_SUPPORT = 0
    OWN_NEARNESS = 1
    SIMILAR_NEARNESS = 2
    TREND = 3
    CLUSTER_SUPPORT = 4
    CLUSTER_NEARNESS = 5


@dataclass(frozen=True, slots=True)
class RankingWeights:
    """What each source adds to the score of a content item at most.

    A weight of 0 turns the source off.
    """

    similar_support: float = 1.0
    """For content items that similar patterns of other devices were learned from."""
    own_nearness: float = 0.25
    """For content items near the household's own patterns."""
    similar_nearness: float = 0.1
    """For content items near similar patterns of other devices."""
    trend: float = 0.3
    """For content items, and genres, that many devices watch now. Genres may add a tenth more."""
    cluster_support: float = 0.4
    """For content items that clusters were learned from."""
    cluster_nearness: float = 0.05
    """For content items near the centroids of clusters."""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One content item to offer."""

    content_id: str
    score: float
    """Larger is better. Scores are comparable within one list of recommendations."""
    reason: str
    """A short sentence for the viewer, such as "Because you watched Alien"."""


@dataclass(frozen=True, slots=True, eq=False)
class OwnTaste:
    """A household's own n patterns, prepared for ranking."""

    patterns: Sequence[Pattern]
    centred_embeddings: NDArray[np.float32]
    """Shape (n, DIMENSION), as `Catalogue.centre` makes them."""
    strengths: NDArray[np.float32]
    """Shape (n,): success rate times log2(1 + views)."""


@dataclass(frozen=True, slots=True, eq=False)
class SharedTaste:
    """The global state, prepared for ranking."""

    support: Scores
    """How much similar patterns support each content item they were learned from."""
    direction: NDArray[np.float32]
    """Shape (DIMENSION,): the weighted mean of similar patterns, centred; zero without any."""
    trend_scores: Scores
    """How strongly each content item and its genres trend: up to 1, plus 0.1 for genres."""
    trend_by_row: dict[int, Trend]
    """The strongest trend of each catalogue row that has one."""
    clusters: ClusterTaste


def build_own_taste(catalogue: Catalogue, patterns: Sequence[Pattern]) -> OwnTaste:
    """Prepare own patterns for ranking. Build it again when they change."""
    embeddings = np.array([each.embedding for each in patterns], np.float32)
    strengths = [each.success_rate * math.log2(1 + each.sample_count) for each in patterns]
    centred = catalogue.centre(embeddings.reshape(-1, DIMENSION))
    return OwnTaste(patterns, centred, np.array(strengths, np.float32))


def build_shared_taste(catalogue: Catalogue, global_state: GlobalState) -> SharedTaste:
    """Prepare the global state for ranking. Build it again when it changes."""
    support = np.zeros(len(catalogue), np.float32)
    direction = np.zeros(DIMENSION, np.float32)
    for similar in global_state.similar.values():
        weight = np.float32(max(0.0, similar.similarity) * similar.pattern.success_rate)
        direction += weight * similar.pattern.embedding
        support[catalogue.find_rows(similar.pattern.content_ids)] += weight
    if global_state.similar:
        norm = max(float(np.linalg.norm(direction)), 1e-6)
        direction = catalogue.centre(direction[None, :] / np.float32(norm))[0]
    trend_scores, trend_by_row = _compute_trend_scores(catalogue, global_state.trends.values())
    clusters = build_cluster_taste(catalogue, global_state.clusters.values())
    return SharedTaste(scale_to_one(support), direction, trend_scores, trend_by_row, clusters)


def _compute_trend_scores(
    catalogue: Catalogue, trends: Iterable[Trend]
) -> tuple[Scores, dict[int, Trend]]:
    scores = np.zeros(len(catalogue), np.float32)
    trend_by_row: dict[int, Trend] = {}
    genre_scores = np.zeros(len(catalogue), np.float32)
    for trend in sorted(trends, key=lambda each: each.score):
        if trend.subject.is_genre:
            genre_scores[_find_genre_rows(catalogue, trend.subject.name)] += max(0.0, trend.score)
        elif (row := catalogue.find_row(trend.subject.name)) is not None:
            scores[row] = max(0.0, trend.score)
            trend_by_row[row] = trend
    return scale_to_one(scores) + GENRE_TREND_SHARE * scale_to_one(genre_scores), trend_by_row


def _find_genre_rows(catalogue: Catalogue, genre: str) -> Rows:
    return catalogue.rows_by_genre.get(genre, np.empty(0, np.int64))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _ScoreBreakdown:
    """The score of each content item, and what it is made of."""

    sources: NDArray[np.float32]
    """Shape (len(Source), contents): what each source adds, one row for each Source."""
    own_indexes: NDArray[np.int64]
    """The own patterns that count."""
    own_nearness: Nearness
    """Nearness to the patterns of `own_indexes`, in their order."""
    cluster_weights: Scores
    """Shape (clusters,)."""
    centroids: NDArray[np.int64]
    """The clusters whose centroids count."""
    cluster_nearness: Nearness
    """Nearness to the clusters of `centroids`, in their order."""


@dataclass(frozen=True, slots=True, eq=False)
class Ranker:
    """Ranks one catalogue for one household. The same values always give the same answer."""

    catalogue: Catalogue
    own: OwnTaste
    shared: SharedTaste
    weights: RankingWeights

    def rank(self, context: Context, excluded_rows: Rows, limit: int) -> list[Recommendation]:
        """Return up to `limit` content items, the best first, without those of `excluded_rows`.

        `excluded_rows` must be distinct.
        """
        limit = min(limit, len(self.catalogue) - len(excluded_rows))
        if limit <= 0:
            return []
        breakdown = self._score_contents(context)
        scores = breakdown.sources.sum(axis=0)
        scores[excluded_rows] = -np.inf
        top = np.argpartition(-scores, limit - 1)[:limit]
        top = top[np.argsort(-scores[top], kind="stable")]
        return [
            Recommendation(
                self.catalogue.content_ids[row],
                float(scores[row]),
                self._explain(int(row), breakdown),
            )
            for row in top
        ]

    def _score_contents(self, context: Context) -> _ScoreBreakdown:
        strengths = self.own.strengths * _compute_context_factors(self.own.patterns, context)
        own_indexes = np.argsort(-strengths)[:MAX_ACTIVE_PATTERNS]
        clusters = self.shared.clusters
        cluster_weights = clusters.compute_weights(self.own.centred_embeddings[own_indexes])
        centroids = clusters.select_centroids(cluster_weights)
        to_own, to_similar, to_clusters = self._compute_cosines(own_indexes, centroids)
        own_nearness = compute_nearness(to_own, scale_to_one(strengths[own_indexes]))
        peak = cluster_weights.max(initial=0.0)
        cluster_nearness = compute_nearness(to_clusters, cluster_weights[centroids], peak)
        weights = self.weights
        support = clusters.compute_support(cluster_weights, len(self.catalogue))
        near_similar = scale_to_one(np.maximum(to_similar[:, 0], 0))
        sources = {
            Source.SIMILAR_SUPPORT: weights.similar_support * self.shared.support,
            Source.OWN_NEARNESS: weights.own_nearness * own_nearness.scores,
            Source.SIMILAR_NEARNESS: weights.similar_nearness * near_similar,
            Source.TREND: weights.trend * self.shared.trend_scores,
            Source.CLUSTER_SUPPORT: weights.cluster_support * support,
            Source.CLUSTER_NEARNESS: weights.cluster_nearness * cluster_nearness.scores,
        }
        return _ScoreBreakdown(
            sources=np.stack([sources[each] for each in Source]).astype(np.float32),
            own_indexes=own_indexes,
            own_nearness=own_nearness,
            cluster_weights=cluster_weights,
            centroids=centroids,
            cluster_nearness=cluster_nearness,
        )

    def _compute_cosines(
        self, own_indexes: NDArray[np.int64], centroids: NDArray[np.int64]
    ) -> list[NDArray[np.float32]]:
        """Return three arrays of cosines: with own patterns, similar patterns and centroids.

        Each has shape (contents, n); n is 1 for similar patterns, which count by their direction.
        """
        directions = [
            self.own.centred_embeddings[own_indexes],
            self.shared.direction[None, :],
            self.shared.clusters.centred_embeddings[centroids],
        ]
        # Contents first: the other order of the product takes three times as long.
        cosines = self.catalogue.centred_embeddings @ np.vstack(directions).T
        return np.split(cosines, [len(own_indexes), len(own_indexes) + 1], axis=1)

    def _explain(self, row: int, breakdown: _ScoreBreakdown) -> str:
        sources = breakdown.sources[:, row]
        if not sources.any():
            return "New to you"
        match Source(int(sources.argmax())):
            case Source.SIMILAR_SUPPORT:
                return "Watched by households with your taste"
            case Source.OWN_NEARNESS:
                return self._explain_own(row, breakdown)
            case Source.SIMILAR_NEARNESS:
                return "Close to what households with your taste enjoy"
            case Source.TREND:
                return self._explain_trend(row)
            case Source.CLUSTER_SUPPORT | Source.CLUSTER_NEARNESS:
                return self._explain_cluster(row, breakdown)

    def _explain_own(self, row: int, breakdown: _ScoreBreakdown) -> str:
        """Name the newest titled content item that the nearest own pattern was learned from."""
        nearest = breakdown.own_indexes[breakdown.own_nearness.find_nearest(row)]
        return self._explain_pattern(self.own.patterns[nearest])

    def _explain_pattern(self, pattern: Pattern) -> str:
        for row in reversed(self.catalogue.find_rows(pattern.content_ids)):
            if title := self.catalogue.title(int(row)):
                return f"Because you watched {title}"
        return "Close to what you like to watch"

    def _explain_trend(self, row: int) -> str:
        trend = self.shared.trend_by_row.get(row)
        if trend is None:
            return "In a genre many are watching now"
        is_regional = trend.region and trend.scope is not Scope.GLOBAL
        return f"Trending in {trend.region}" if is_regional else "Trending everywhere"

    def _explain_cluster(self, row: int, breakdown: _ScoreBreakdown) -> str:
        scores = breakdown.sources[:, row]
        clusters = self.shared.clusters
        if scores[Source.CLUSTER_SUPPORT] >= scores[Source.CLUSTER_NEARNESS]:
            supporter = clusters.find_main_supporter(row, breakdown.cluster_weights)
            return f"Popular with {_describe_viewers(clusters.clusters[supporter])}"
        nearest = clusters.clusters[
            breakdown.centroids[breakdown.cluster_nearness.find_nearest(row)]
        ]
        return f"Close to what {_describe_viewers(nearest)} enjoy"


def _describe_viewers(cluster: Cluster) -> str:
    """Describe the households of a cluster by its first genre, if it has one."""
    genres = cluster.pattern.genres
    return f"households that like {genres[0]}" if genres else "many households"


def _compute_context_factors(patterns: Sequence[Pattern], context: Context) -> NDArray[np.float32]:
    """Return the factor on the strength of each pattern in a context, shape (n,)."""
    factors = [
        (OTHER_CONTEXT_FACTOR if _is_mismatch(each.time_of_day, context.time_of_day) else 1.0)
        * (OTHER_CONTEXT_FACTOR if _is_mismatch(each.day_type, context.day_type) else 1.0)
        for each in patterns
    ]
    return np.array(factors, np.float32)


def _is_mismatch(one: TimeOfDay | DayType, other: TimeOfDay | DayType) -> bool:
    """Return whether both are known and differ; 0 is ANY."""
    return bool(one and other and one is not other)
