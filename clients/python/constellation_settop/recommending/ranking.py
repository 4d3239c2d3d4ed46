"""Own patterns, similar patterns, clusters and trends to content, each with its reason."""

from __future__ import annotations

import math
from dataclasses import dataclass
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
"""Own patterns that count at once: those that matter most in the context."""
OTHER_CONTEXT_FACTOR: Final = 0.7
"""What a pattern of another part of the day, or kind of day, counts."""


@dataclass(frozen=True, slots=True)
class RankingWeights:
    """What each source adds to a score at most."""

    similar_support: float = 1.0
    """Contents that similar patterns of other devices were learned from."""
    own_nearness: float = 0.25
    """Contents near the household's own patterns."""
    similar_nearness: float = 0.1
    """Contents near similar patterns of other devices."""
    trend: float = 0.3
    cluster_support: float = 0.4
    """Contents that clusters were learned from."""
    cluster_nearness: float = 0.05
    """Contents near the centroids of clusters."""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One content to offer."""

    content_id: str
    score: float
    """Larger is better; comparable within one answer."""
    reason: str
    """A short sentence for people."""


@dataclass(frozen=True, slots=True, eq=False)
class OwnTaste:
    """A household's patterns, ready to be ranked with."""

    patterns: Sequence[Pattern]
    centred_embeddings: NDArray[np.float32]
    """Shape (n, DIMENSION)."""
    strengths: NDArray[np.float32]
    """Shape (n,)."""


@dataclass(frozen=True, slots=True, eq=False)
class SharedTaste:
    """What other households' devices learned, ready to be ranked with."""

    support: Scores
    direction: NDArray[np.float32]
    """Shape (DIMENSION,): where similar patterns point, on the whole."""
    trend_scores: Scores
    trend_by_row: dict[int, Trend]
    """The strongest trend of a row."""
    clusters: ClusterTaste


def build_own_taste(catalogue: Catalogue, patterns: Sequence[Pattern]) -> OwnTaste:
    """Prepare own patterns; needed again when they change."""
    embeddings = np.array([each.embedding for each in patterns], np.float32)
    strengths = [each.success_rate * math.log2(1 + each.sample_count) for each in patterns]
    centred = catalogue.centre(embeddings.reshape(-1, DIMENSION))
    return OwnTaste(patterns, centred, np.array(strengths, np.float32))


def build_shared_taste(catalogue: Catalogue, global_state: GlobalState) -> SharedTaste:
    """Prepare the global state; needed again when it changes."""
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
    return scale_to_one(scores) + np.float32(0.1) * scale_to_one(genre_scores), trend_by_row


def _find_genre_rows(catalogue: Catalogue, genre: str) -> Rows:
    return catalogue.rows_by_genre.get(genre, np.empty(0, np.int64))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _ScoreBreakdown:
    """What is said of each content, and by what."""

    sources: NDArray[np.float32]
    """Shape (6, contents): what each source adds, in the order of `Weights`."""
    own_indexes: NDArray[np.int64]
    """The own patterns that count; `own` is the nearness to them."""
    own_nearness: Nearness
    cluster_weights: Scores
    """Shape (clusters,)."""
    centroids: NDArray[np.int64]
    """The clusters whose centroids count; `near_cluster` is the nearness to them."""
    cluster_nearness: Nearness


@dataclass(frozen=True, slots=True, eq=False)
class Ranker:
    """Ranks one catalogue for one household. Pure: the same values give the same answer."""

    catalogue: Catalogue
    own: OwnTaste
    shared: SharedTaste
    weights: RankingWeights

    def rank(self, context: Context, excluded_rows: Rows, limit: int) -> list[Recommendation]:
        """Return the best contents but `exclude`, best first."""
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
        sources = [
            weights.similar_support * self.shared.support,
            weights.own_nearness * own_nearness.scores,
            weights.similar_nearness * scale_to_one(np.maximum(to_similar[:, 0], 0)),
            weights.trend * self.shared.trend_scores,
            weights.cluster_support
            * clusters.compute_support(cluster_weights, len(self.catalogue)),
            weights.cluster_nearness * cluster_nearness.scores,
        ]
        return _ScoreBreakdown(
            sources=np.stack(sources).astype(np.float32),
            own_indexes=own_indexes,
            own_nearness=own_nearness,
            cluster_weights=cluster_weights,
            centroids=centroids,
            cluster_nearness=cluster_nearness,
        )

    def _compute_cosines(
        self, own_indexes: NDArray[np.int64], centroids: NDArray[np.int64]
    ) -> list[NDArray[np.float32]]:
        """Return those of contents with own patterns, the similar ones on the whole, clusters."""
        directions = [
            self.own.centred_embeddings[own_indexes],
            self.shared.direction[None, :],
            self.shared.clusters.centred_embeddings[centroids],
        ]
        # This way round is three times as fast.
        cosines = self.catalogue.centred_embeddings @ np.vstack(directions).T
        return np.split(cosines, [len(own_indexes), len(own_indexes) + 1], axis=1)

    def _explain(self, row: int, breakdown: _ScoreBreakdown) -> str:
        sources = breakdown.sources[:, row]
        if not sources.any():
            return "New to you"
        match int(sources.argmax()):
            case 0:
                return "Watched by households with your taste"
            case 1:
                return self._explain_own(
                    self.own.patterns[
                        breakdown.own_indexes[breakdown.own_nearness.find_nearest(row)]
                    ]
                )
            case 2:
                return "Close to what households with your taste enjoy"
            case 3:
                return self._explain_trend(row)
        return self._explain_cluster(row, breakdown)

    def _explain_own(self, pattern: Pattern) -> str:
        """Name the newest content the pattern was learned from, if it has a title."""
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
        supported, near = breakdown.sources[4:, row]
        clusters = self.shared.clusters
        if supported >= near:
            supporter = clusters.find_main_supporter(row, breakdown.cluster_weights)
            return f"Popular with {_describe_viewers(clusters.clusters[supporter])}"
        nearest = clusters.clusters[
            breakdown.centroids[breakdown.cluster_nearness.find_nearest(row)]
        ]
        return f"Close to what {_describe_viewers(nearest)} enjoy"


def _describe_viewers(cluster: Cluster) -> str:
    """Name the households of a cluster by its first genre, if it has one."""
    genres = cluster.pattern.genres
    return f"households that like {genres[0]}" if genres else "many households"


def _compute_context_factors(patterns: Sequence[Pattern], context: Context) -> NDArray[np.float32]:
    """Return what each pattern counts in a context."""
    factors = [
        (OTHER_CONTEXT_FACTOR if _is_mismatch(each.time_of_day, context.time_of_day) else 1.0)
        * (OTHER_CONTEXT_FACTOR if _is_mismatch(each.day_type, context.day_type) else 1.0)
        for each in patterns
    ]
    return np.array(factors, np.float32)


def _is_mismatch(one: TimeOfDay | DayType, other: TimeOfDay | DayType) -> bool:
    """Tell whether both are known and not the same; 0 is any."""
    return bool(one and other and one is not other)
