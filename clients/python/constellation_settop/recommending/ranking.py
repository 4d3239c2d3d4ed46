"""Own patterns, similar patterns, clusters and trends to content, each with its reason."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.encoding import DIMENSION
from constellation_settop.recommending.clusters import ClusterTaste, cluster_taste
from constellation_settop.recommending.scores import Nearness, Scores, nearness, scaled
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

MAX_TASTES: Final = 16
"""Own patterns that count at once: those that matter most in the context."""
OTHER_CONTEXT: Final = 0.7
"""What a pattern of another part of the day, or kind of day, counts."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What each source adds to a score at most."""

    supported: float = 1.0
    """Contents that similar patterns of other devices were learned from."""
    own: float = 0.25
    """Contents near the household's own patterns."""
    near_similar: float = 0.1
    """Contents near similar patterns of other devices."""
    trend: float = 0.3
    clustered: float = 0.4
    """Contents that clusters were learned from."""
    near_cluster: float = 0.05
    """Contents near the centroids of clusters."""


@dataclass(frozen=True, slots=True)
class Choice:
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
    centred: NDArray[np.float32]
    """Shape (n, DIMENSION)."""
    strengths: NDArray[np.float32]
    """Shape (n,)."""


@dataclass(frozen=True, slots=True, eq=False)
class SharedTaste:
    """What other households' devices learned, ready to be ranked with."""

    supported: Scores
    direction: NDArray[np.float32]
    """Shape (DIMENSION,): where similar patterns point, on the whole."""
    trend: Scores
    trend_of: dict[int, Trend]
    """The strongest trend of a row."""
    clusters: ClusterTaste


def own_taste(catalogue: Catalogue, patterns: Sequence[Pattern]) -> OwnTaste:
    """Prepare own patterns; needed again when they change."""
    embeddings = np.array([each.embedding for each in patterns], np.float32)
    strengths = [each.success_rate * math.log2(1 + each.sample_count) for each in patterns]
    centred = catalogue.centre(embeddings.reshape(-1, DIMENSION))
    return OwnTaste(patterns, centred, np.array(strengths, np.float32))


def shared_taste(catalogue: Catalogue, held: GlobalState) -> SharedTaste:
    """Prepare the global state; needed again when it changes."""
    supported = np.zeros(len(catalogue), np.float32)
    direction = np.zeros(DIMENSION, np.float32)
    for similar in held.similar.values():
        weight = np.float32(max(0.0, similar.similarity) * similar.pattern.success_rate)
        direction += weight * similar.pattern.embedding
        supported[catalogue.rows(similar.pattern.content_ids)] += weight
    if held.similar:
        norm = max(float(np.linalg.norm(direction)), 1e-6)
        direction = catalogue.centre(direction[None, :] / np.float32(norm))[0]
    trend, trend_of = _trend_scores(catalogue, held.trends.values())
    clusters = cluster_taste(catalogue, held.clusters.values())
    return SharedTaste(scaled(supported), direction, trend, trend_of, clusters)


def _trend_scores(catalogue: Catalogue, trends: Iterable[Trend]) -> tuple[Scores, dict[int, Trend]]:
    scores = np.zeros(len(catalogue), np.float32)
    trend_of: dict[int, Trend] = {}
    genres = np.zeros(len(catalogue), np.float32)
    for trend in sorted(trends, key=lambda each: each.score):
        if trend.subject.is_genre:
            genres[_genre_rows(catalogue, trend.subject.name)] += max(0.0, trend.score)
        elif (row := catalogue.row(trend.subject.name)) is not None:
            scores[row] = max(0.0, trend.score)
            trend_of[row] = trend
    return scaled(scores) + np.float32(0.1) * scaled(genres), trend_of


def _genre_rows(catalogue: Catalogue, genre: str) -> Rows:
    return catalogue.rows_by_genre.get(genre, np.empty(0, np.int64))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Judged:
    """What is said of each content, and by what."""

    sources: NDArray[np.float32]
    """Shape (6, contents): what each source adds, in the order of `Weights`."""
    tastes: NDArray[np.int64]
    """The own patterns that count; `own` is the nearness to them."""
    own: Nearness
    cluster_weights: Scores
    """Shape (clusters,)."""
    centroids: NDArray[np.int64]
    """The clusters whose centroids count; `near_cluster` is the nearness to them."""
    near_cluster: Nearness


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Ranks one catalogue for one household. Pure: the same values give the same answer."""

    catalogue: Catalogue
    own: OwnTaste
    shared: SharedTaste
    weights: Weights

    def best(self, context: Context, exclude: Rows, limit: int) -> list[Choice]:
        """Return the best contents but `exclude`, best first."""
        limit = min(limit, len(self.catalogue) - len(exclude))
        if limit <= 0:
            return []
        judged = self._judge(context)
        scores = judged.sources.sum(axis=0)
        scores[exclude] = -np.inf
        top = np.argpartition(-scores, limit - 1)[:limit]
        top = top[np.argsort(-scores[top], kind="stable")]
        return [
            Choice(
                self.catalogue.content_ids[row],
                float(scores[row]),
                self._reason(int(row), judged),
            )
            for row in top
        ]

    def _judge(self, context: Context) -> _Judged:
        strengths = self.own.strengths * _fit(self.own.patterns, context)
        tastes = np.argsort(-strengths)[:MAX_TASTES]
        clusters = self.shared.clusters
        cluster_weights = clusters.weigh(self.own.centred[tastes])
        centroids = clusters.heaviest(cluster_weights)
        to_own, to_similar, to_clusters = self._cosines(tastes, centroids)
        own = nearness(to_own, scaled(strengths[tastes]))
        peak = cluster_weights.max(initial=0.0)
        near_cluster = nearness(to_clusters, cluster_weights[centroids], peak)
        weights = self.weights
        sources = [
            weights.supported * self.shared.supported,
            weights.own * own.scores,
            weights.near_similar * scaled(np.maximum(to_similar[:, 0], 0)),
            weights.trend * self.shared.trend,
            weights.clustered * clusters.supported(cluster_weights, len(self.catalogue)),
            weights.near_cluster * near_cluster.scores,
        ]
        return _Judged(
            sources=np.stack(sources).astype(np.float32),
            tastes=tastes,
            own=own,
            cluster_weights=cluster_weights,
            centroids=centroids,
            near_cluster=near_cluster,
        )

    def _cosines(
        self, tastes: NDArray[np.int64], centroids: NDArray[np.int64]
    ) -> list[NDArray[np.float32]]:
        """Return those of contents with own patterns, the similar ones on the whole, clusters."""
        directions = [
            self.own.centred[tastes],
            self.shared.direction[None, :],
            self.shared.clusters.centred[centroids],
        ]
        # This way round is three times as fast.
        cosines = self.catalogue.centred @ np.vstack(directions).T
        return np.split(cosines, [len(tastes), len(tastes) + 1], axis=1)

    def _reason(self, row: int, judged: _Judged) -> str:
        sources = judged.sources[:, row]
        if not sources.any():
            return "New to you"
        match int(sources.argmax()):
            case 0:
                return "Watched by households with your taste"
            case 1:
                return self._own_reason(self.own.patterns[judged.tastes[judged.own.nearest(row)]])
            case 2:
                return "Close to what households with your taste enjoy"
            case 3:
                return self._trend_reason(row)
        return self._cluster_reason(row, judged)

    def _own_reason(self, pattern: Pattern) -> str:
        """Name the newest content the pattern was learned from, if it has a title."""
        for row in reversed(self.catalogue.rows(pattern.content_ids)):
            if title := self.catalogue.title(int(row)):
                return f"Because you watched {title}"
        return "Close to what you like to watch"

    def _trend_reason(self, row: int) -> str:
        trend = self.shared.trend_of.get(row)
        if trend is None:
            return "In a genre many are watching now"
        is_regional = trend.region and trend.scope is not Scope.GLOBAL
        return f"Trending in {trend.region}" if is_regional else "Trending everywhere"

    def _cluster_reason(self, row: int, judged: _Judged) -> str:
        supported, near = judged.sources[4:, row]
        clusters = self.shared.clusters
        if supported >= near:
            supporter = clusters.main_supporter(row, judged.cluster_weights)
            return f"Popular with {_households(clusters.clusters[supporter])}"
        nearest = clusters.clusters[judged.centroids[judged.near_cluster.nearest(row)]]
        return f"Close to what {_households(nearest)} enjoy"


def _households(cluster: Cluster) -> str:
    """Name the households of a cluster by its first genre, if it has one."""
    genres = cluster.pattern.genres
    return f"households that like {genres[0]}" if genres else "many households"


def _fit(patterns: Sequence[Pattern], context: Context) -> NDArray[np.float32]:
    """Return what each pattern counts in a context."""
    fits = [
        (OTHER_CONTEXT if _differ(each.time_of_day, context.time_of_day) else 1.0)
        * (OTHER_CONTEXT if _differ(each.day_type, context.day_type) else 1.0)
        for each in patterns
    ]
    return np.array(fits, np.float32)


def _differ(one: TimeOfDay | DayType, other: TimeOfDay | DayType) -> bool:
    """Tell whether both are known and not the same; 0 is any."""
    return bool(one and other and one is not other)
