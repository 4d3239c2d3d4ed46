"""Measure the weights of ranking on real households: `python -m tools.fit_ranking`.

It uses the validation split alone: of the first 80 % of each household's ratings of MovieLens
latest-small, the first 80 % are watched, and what the household likes in the rest is to be found.
The item model is solved centrally, as a federation does, from what devices would contribute.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation_settop import Brain, Catalogue, Context, RankingWeights, View
from constellation_settop.recommending.diversity import POOL_FACTOR, diversify
from constellation_settop.recommending.ranking import Ranker, Source
from constellation_settop.recommending.rewards import SUCCESS_THRESHOLD, compute_reward
from constellation_settop.values import GlobalState, PopularContents, RelatedRow, SimilarPattern
from testing.catalogue import load_catalogue
from testing.viewings import LIKED, Viewings, load_viewings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from constellation_settop import Pattern

_WATCHED_SHARE: Final = 0.8
_MIN_LIKED, _MIN_WANTED = 5, 3
_CONTRIBUTED: Final = 128
"""Liked films that each household contributes to the item model: the latest ones."""
_MIN_HOUSEHOLDS: Final = 5
"""Households that a film, and a pair of films, needs."""
_RIDGE: Final = 200.0
_NEIGHBOURS: Final = 64
_POPULAR: Final = 200
_SIMILAR: Final = 100
_LIMIT: Final = 10
_UNIT_WEIGHTS: Final = RankingWeights(
    related=1, own_nearness=1, similar_support=1, cluster_support=1, trend=1, popular=1
)
_GRID: Final = {
    "own_nearness": (0, 0.2, 0.4, 0.6, 1.0),
    "similar_support": (0, 0.2, 0.5, 1.0),
    "popular": (0, 1, 2, 3, 4),
}


@dataclass(frozen=True, slots=True, eq=False)
class Household:
    """What one household watched, and what it should be recommended."""

    views: NDArray[np.int64]
    """Its rows of the viewings, the earliest first."""
    wanted: frozenset[int]
    """The films that it likes later."""
    is_measured: bool
    """Whether it liked enough in both parts to tell anything."""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """The scores of each source for one household, before they are weighted."""

    scores: NDArray[np.float32]
    """Shape (len(Source), films)."""
    liked: int
    related: int
    watched_rows: NDArray[np.int64]
    wanted: frozenset[int]


class Experiment:
    """Households, their brains, and what a federation would send them."""

    def __init__(self) -> None:
        films = load_catalogue()
        self.viewings: Viewings = load_viewings(films.films)
        self.ids = [film.content_id for film in films.films]
        self.catalogue = Catalogue(self.ids, films.embeddings)
        self.households = list(split(self.viewings))
        self.likes = np.array(
            [
                compute_reward(float(watched), float(engaged)) > SUCCESS_THRESHOLD
                for watched, engaged in zip(
                    self.viewings.watch_percentages, self.viewings.engagements, strict=True
                )
            ]
        )
        matrix = self._collect_likes()
        self.popularity = matrix.sum(axis=0).astype(np.int64)
        self.related = solve(matrix, self.ids)
        best = np.argsort(-self.popularity, kind="stable")[:_POPULAR]
        households = tuple(self.popularity[best].tolist())
        self.popular = PopularContents("", tuple(self.ids[row] for row in best), households)
        brains = [self.teach(each.views) for each in self.households]
        shared = [
            (number, pattern)
            for number, brain in enumerate(brains)
            for pattern in brain.patterns
            if pattern.success_rate >= SUCCESS_THRESHOLD
        ]
        self._owners = np.array([number for number, _ in shared])
        self._patterns = [pattern for _, pattern in shared]
        self._embeddings = np.stack([pattern.embedding for pattern in self._patterns])

    def _collect_likes(self) -> NDArray[np.float32]:
        """Return households by films: 1 for each of a household's latest liked films."""
        matrix = np.zeros((len(self.households), len(self.ids)), np.float32)
        for number, household in enumerate(self.households):
            liked = household.views[self.likes[household.views]][::-1]
            rows = dict.fromkeys(self.viewings.content_rows[liked].tolist())
            matrix[number, list(rows)[:_CONTRIBUTED]] = 1
        return matrix

    def teach(self, views: NDArray[np.int64]) -> Brain:
        """Return a brain that has observed some viewings."""
        brain = Brain(self.catalogue)
        columns = self.viewings
        for row in views.tolist():
            brain.observe(
                View(
                    self.ids[columns.content_rows[row]],
                    float(columns.watch_percentages[row]),
                    float(columns.engagements[row]),
                    float(columns.timestamps[row]),
                )
            )
        return brain

    def measure(self, choose: slice, variants: Mapping[str, RankingWeights]) -> list[float]:
        """Return the mean NDCG@10 of each variant, after a part of the views of each household.

        Everything that was watched in the first part is left out, however many views are learned.
        """
        figures = [
            [compute_ndcg(self._rank(table, each), table.wanted) for each in variants.values()]
            for number, household in enumerate(self.households)
            if household.is_measured
            for table in [self._score(number, household, choose)]
        ]
        mean: list[float] = np.mean(figures, axis=0).tolist()
        return mean

    def _score(self, number: int, household: Household, choose: slice) -> Table:
        brain = self.teach(household.views[choose])
        liked_ids = [each.content_id for each in brain.history.entries if each.opinion > 0]
        related = {
            content_id.encode(): self.related[content_id]
            for content_id in liked_ids
            if content_id in self.related
        }
        state = GlobalState(
            similar=self._find_similar(number, brain.patterns),
            related=related,
            popular={b"": self.popular},
        )
        ranker = Ranker(self.catalogue, _UNIT_WEIGHTS)
        ranker.use_global_state(lambda: state)
        ranker.use_taste(brain.patterns, brain.history)
        scores = (ranker.compute_scores(Context()).sources // 1024).astype(np.float32)
        scores[Source.POPULAR] = ranker.shared.popular_scores
        watched_rows = self.viewings.content_rows[household.views]
        return Table(scores, len(liked_ids), len(related), watched_rows, household.wanted)

    def _find_similar(
        self, number: int, patterns: Sequence[Pattern]
    ) -> Mapping[bytes, SimilarPattern]:
        own = [each.embedding for each in patterns if each.success_rate >= SUCCESS_THRESHOLD]
        if not own:
            return {}
        cosines = (self._embeddings @ np.stack(own).T).max(axis=1)
        cosines[self._owners == number] = -1
        best = np.argsort(-cosines, kind="stable")[:_SIMILAR]
        return {
            self._patterns[each].pattern_id: SimilarPattern(
                self._patterns[each], float(cosines[each])
            )
            for each in best.tolist()
        }

    def _rank(self, table: Table, weights: RankingWeights) -> list[int]:
        by_source = np.array([getattr(weights, each.name.lower()) for each in Source], np.float32)
        by_source[Source.POPULAR] /= max(1, table.liked)
        by_source[[Source.SIMILAR_SUPPORT, Source.CLUSTER_SUPPORT]] /= max(
            1, table.related if weights.related else 0
        )
        totals = by_source @ table.scores
        totals[table.watched_rows] = -np.inf
        pool = np.argpartition(-totals, POOL_FACTOR * _LIMIT)[: POOL_FACTOR * _LIMIT]
        best = diversify(self.catalogue, pool[np.argsort(-totals[pool], kind="stable")], _LIMIT)
        ranked: list[int] = best.tolist()
        return ranked


def split(viewings: Viewings) -> Iterator[Household]:
    """Yield the validation split: every household, also those that are only learned from."""
    for name in np.unique(viewings.households):
        rows = np.flatnonzero(viewings.households == name)
        training = rows[: int(len(rows) * _WATCHED_SHARE)]
        views, later = np.split(training, [int(len(training) * _WATCHED_SHARE)])
        seen = set(viewings.content_rows[views].tolist())
        liked_later = later[viewings.ratings[later] >= LIKED]
        wanted = frozenset(viewings.content_rows[liked_later].tolist()) - seen
        liked = int((viewings.ratings[views] >= LIKED).sum())
        yield Household(views, wanted, liked >= _MIN_LIKED and len(wanted) >= _MIN_WANTED)


def solve(matrix: NDArray[np.float32], ids: Sequence[str]) -> dict[str, RelatedRow]:
    """Return the rows of related content by content id: EASE (Steck 2019), as INT8."""
    known = np.flatnonzero(matrix.sum(axis=0) >= _MIN_HOUSEHOLDS)
    pairs = (matrix[:, known].T @ matrix[:, known]).astype(np.float64)
    inverse = np.linalg.inv(pairs + _RIDGE * np.eye(len(known)))
    model = -inverse / np.diag(inverse)
    np.fill_diagonal(model, 0)
    model[pairs < _MIN_HOUSEHOLDS] = 0
    rows = {}
    for number, weights in enumerate(model):
        largest = np.argsort(-np.abs(weights), kind="stable")[:_NEIGHBOURS]
        best = largest[np.argsort(-weights[largest], kind="stable")]
        peak = np.abs(weights[best]).max()
        shift = int(np.clip(np.floor(np.log2(127 / peak)), 0, 30)) if peak else 0
        codes = np.rint(weights[best] * 2.0**shift).astype(np.int8)
        names = tuple(ids[known[each]] for each in best[codes != 0].tolist())
        if names:
            content_id = ids[known[number]]
            rows[content_id] = RelatedRow(content_id, names, codes[codes != 0].tobytes(), shift)
    return rows


def compute_ndcg(ranked: Sequence[int], wanted: frozenset[int]) -> float:
    """Return the NDCG of a list with binary relevance."""
    gains = [1 / np.log2(place + 2) for place in range(_LIMIT)]
    found = sum(gain for gain, row in zip(gains, ranked, strict=False) if row in wanted)
    return float(found / sum(gains[: len(wanted)]))


def make_variants() -> dict[str, RankingWeights]:
    """Return each source alone, the defaults, and what one weight changes."""
    nothing = replace(
        RankingWeights(), **dict.fromkeys((each.name.lower() for each in Source), 0.0)
    )
    variants = {
        f"{name} alone": replace(nothing, **{name: 1.0})
        for name in ("popular", "related", "own_nearness", "similar_support")
    }
    variants["the defaults"] = RankingWeights()
    for name, values in _GRID.items():
        for value in values:
            variants[f"{name} {value}"] = replace(RankingWeights(), **{name: value})
    return variants


def main() -> None:
    """Print the NDCG@10 of each variant, for households with many views and with few."""
    experiment = Experiment()
    parts = {
        "all views": slice(None),
        "first 5": slice(5),
        "last 5": slice(-5, None),
        "no view": slice(0),
    }
    variants = make_variants()
    columns = [experiment.measure(choose, variants) for choose in parts.values()]
    lines = [f"{'NDCG@10, validation split':28}" + "".join(f"{name:>11}" for name in parts)]
    for label, *figures in zip(variants, *columns, strict=True):
        lines.append(f"{label:28}" + "".join(f"{figure:11.4f}" for figure in figures))
    print("\n".join(lines))  # noqa: T201  # a command prints


if __name__ == "__main__":
    main()
