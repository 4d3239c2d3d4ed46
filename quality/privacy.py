"""What differential privacy costs: NDCG by epsilon and size of the fleet, on simulated fleets.

Noise, thresholds and the solve are those of the federation. Only the generator is another: a seeded
one, so that figures can be compared, with the rounded Gaussian in place of the discrete one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.federated.contribution import LIKED_CONTENTS, ContributionBounds
from federation.privacy import gaussian
from federation.privacy.budget import SHARES, Mechanism, make_budget
from federation.privacy.releases import release_named_counts, release_pairs
from federation.related.noised import solve_noised_rows
from federation.related.result import RelatedRules
from federation.related.rows import make_rows
from federation.related.solve import solve_weights
from quality.losses import RECIPE, LossStudy
from quality.metrics import Quality, measure_quality, rank_unseen
from quality.models import count_likes
from quality.simulated_fleet import SimulatedFleet, simulate_fleet

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from constellation.federated.fixed_point import Integers
    from federation.related.rows import RelatedRow
    from quality.split import Household

EPSILONS: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
DELTA: Final = 1e-10
LIKED: Final = 32
"""Content items of one device that count: RELATED_LIKED in this mode, chosen by `list_choices`."""
LIKED_OF_MILLIONS: Final = 128
"""Millions of devices can bear the noise of more."""
FLEETS: Final = {0: LIKED, 10_000: LIKED, 100_000: LIKED, 4_000_000: LIKED_OF_MILLIONS}
"""By devices: the content items of one that count. 0 stands for the households themselves."""
CHOICE_EPSILON: Final = 2.0
CHOICE_DEVICES: Final = 100_000
RULES: Final = RelatedRules(neighbour_limit=32)
GLOBAL_FLOOR: Final = 50
"""GLOBAL_K_ANONYMITY, as it ships."""
SMALL_FLOOR: Final = 5
"""GLOBAL_K_ANONYMITY where the households themselves are the fleet.

Films that fewer of them like are left out of every fleet: replicas would make them look well known.
"""
DRAWS: Final = 5
"""Draws of noise, over which figures are averaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """How a fleet releases. The default is how the product does it."""

    epsilon: float | None = CHOICE_EPSILON
    """None: no noise."""
    liked: int = LIKED
    likes_share: float = SHARES[Mechanism.LIKES]
    pairs_share: float = SHARES[Mechanism.PAIRS]
    releases: int = 1
    """Releases of likes and of pairs in a week."""


@dataclass(frozen=True, slots=True)
class PrivacyRow:
    """What one setup reaches in one fleet."""

    label: str
    """What was varied, such as "pairs once a day"; empty for the table of epsilons."""
    devices: int
    epsilon: float | None
    liked: int
    """Content items of one device that count."""
    contents: int
    """Content items that were published, on average."""
    likes_noise: float
    """The standard deviation of the noise of likes; 0 without noise."""
    pairs_noise: float
    related: Quality
    """Related content alone; households without any get popular content."""
    popular: Quality
    """Popular content alone."""


@dataclass(frozen=True, slots=True)
class PrivacyResult:
    """What differential privacy costs."""

    split: str
    """Of `rows`; `choices` are always of the validation split."""
    households: int
    rows: Sequence[PrivacyRow]
    choices: Sequence[PrivacyRow]


def list_choices() -> Iterator[tuple[str, Setup]]:
    """Yield what could be chosen otherwise, with its label."""
    yield "as shipped", Setup()
    for liked in (16, 64, 128):
        yield f"{liked} liked content items of a device", Setup(liked=liked)
    for pairs in (0.45, 0.85):
        likes = 1 - pairs - SHARES[Mechanism.HOURS] if pairs < 0.7 else 0.1
        yield (
            f"{pairs:.0%} for pairs, {likes:.0%} for likes",
            Setup(pairs_share=pairs, likes_share=likes),
        )
    yield "released every day", Setup(releases=7)


class PrivacyStudy:
    """Measures setups on one split."""

    def __init__(self, households: Sequence[Household], content_count: int) -> None:
        """Prepare a study; `content_count` is the size of the catalogue."""
        self._households = households
        self._content_count = content_count
        study = LossStudy(households, content_count)
        self._histories = np.stack([study.weigh_history(each, RECIPE) for each in households])
        likes = count_likes([each.liked_rows for each in households], content_count).sum(axis=0)
        self._known_rows = np.flatnonzero(likes >= SMALL_FLOOR)
        self._names = [str(row).zfill(6) for row in range(content_count)]
        self._fleets: dict[int, SimulatedFleet] = {}

    def measure_epsilons(self) -> list[PrivacyRow]:
        """Return the rows of every size and epsilon, that without noise first."""
        return [
            self.measure("", devices, Setup(epsilon=epsilon, liked=liked))
            for devices, liked in FLEETS.items()
            for epsilon in (None, *reversed(EPSILONS))
        ]

    def measure_choices(self) -> list[PrivacyRow]:
        """Return what else could have been chosen, for one epsilon and one size."""
        return [self.measure(label, CHOICE_DEVICES, setup) for label, setup in list_choices()]

    def measure(self, label: str, devices: int, setup: Setup) -> PrivacyRow:
        """Return what one setup reaches in a fleet of about `devices` devices."""
        fleet = self._make_fleet(devices or len(self._households))
        liked = LIKED_CONTENTS if setup.epsilon is None else setup.liked
        rules = replace(
            RULES,
            min_households=GLOBAL_FLOOR if devices else SMALL_FLOOR,
            regularisation=self._scale_regularisation(fleet, liked),
        )
        if setup.epsilon is None:
            scales, releases = (0.0, 0.0), [self._publish_exactly(fleet, rules)]
        else:
            scales = _compute_scales(setup)
            releases = [
                self._publish_noised(fleet, rules, setup, scales, seed) for seed in range(DRAWS)
            ]
        popular = [self._score_popular(likes) for likes, _ in releases]
        related = [
            self._score_related(rows, scores)
            for (_, rows), scores in zip(releases, popular, strict=True)
        ]
        return PrivacyRow(
            label,
            fleet.devices,
            setup.epsilon,
            liked,
            round(sum(len(likes) for likes, _ in releases) / len(releases)),
            *scales,
            _average([self._measure(scores) for scores in related]),
            _average([self._measure(scores) for scores in popular]),
        )

    def _scale_regularisation(self, fleet: SimulatedFleet, liked: int) -> float:
        """Return a lambda in proportion to what is counted.

        Replicas tell nothing new: a count is to be believed only in proportion to their number.
        """
        counted = fleet.count_likes(liked).sum() / fleet.count_likes(LIKED_CONTENTS).sum()
        replicas = fleet.devices / len(self._households)
        return float(RECIPE.regularisation * replicas * counted)

    def _make_fleet(self, devices: int) -> SimulatedFleet:
        if devices not in self._fleets:
            self._fleets[devices] = simulate_fleet(self._households, devices, self._content_count)
        return self._fleets[devices]

    def _publish_exactly(
        self, fleet: SimulatedFleet, rules: RelatedRules
    ) -> tuple[Mapping[str, int], Sequence[RelatedRow]]:
        counts = fleet.count_likes(LIKED_CONTENTS)
        chosen = self._known_rows[counts[self._known_rows] >= rules.min_households]
        gram = fleet.count_pairs(LIKED_CONTENTS, chosen)
        np.fill_diagonal(gram, counts[chosen])
        is_shared = gram >= rules.min_households
        names = [self._names[row] for row in chosen]
        weights = solve_weights(gram, rules.regularisation)
        likes = {name: int(counts[row]) for name, row in zip(names, chosen, strict=True)}
        return likes, make_rows(names, weights, is_shared, rules.neighbour_limit)

    def _publish_noised(
        self,
        fleet: SimulatedFleet,
        rules: RelatedRules,
        setup: Setup,
        scales: tuple[float, float],
        seed: int,
    ) -> tuple[Mapping[str, int], Sequence[RelatedRow]]:
        random = np.random.default_rng(seed)

        def add_noise(values: Integers, scale: float) -> Integers:
            noise = np.rint(random.normal(0.0, scale, values.shape)).astype(np.int64)
            return np.asarray(values + noise, np.int64)

        likes_scale, pairs_scale = scales
        counts = np.zeros(self._content_count, np.int64)
        counts[self._known_rows] = fleet.count_likes(setup.liked)[self._known_rows]
        threshold = max(_compute_threshold(setup, likes_scale), rules.min_households)
        likes = release_named_counts(self._names, counts, threshold, likes_scale, add_noise)
        if not likes:
            return likes, ()
        rows = np.array([int(name) for name in likes])
        noised = release_pairs(fleet.count_pairs(setup.liked, rows), pairs_scale, add_noise)
        return likes, solve_noised_rows(list(likes), likes, noised, pairs_scale, (), rules)

    def _score_popular(self, likes: Mapping[str, int]) -> NDArray[np.float64]:
        scores = np.full(self._content_count, -np.inf)
        scores[[int(name) for name in likes]] = list(likes.values())
        return np.broadcast_to(scores, (len(self._households), self._content_count))

    def _score_related(
        self, rows: Sequence[RelatedRow], popular: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the scores of all households; those whom no row helps get what is popular."""
        names = {each for row in rows for each in (row.content_id, *row.neighbours)}
        known = np.array(sorted(int(each) for each in names), np.int64)
        position_of = {row: position for position, row in enumerate(known.tolist())}
        weights = np.zeros((len(known), len(known)))
        for row in rows:
            columns = [position_of[int(each)] for each in row.neighbours]
            weights[position_of[int(row.content_id)], columns] = list(row.to_weights().values())
        histories = self._histories[:, known]
        scores = np.full(self._histories.shape, -np.inf)
        scores[:, known] = histories @ weights
        is_helped = histories @ weights.any(axis=1) > 0
        scores[~is_helped] = popular[~is_helped]
        return scores

    def _measure(self, scores: NDArray[np.float64]) -> Quality:
        ranked = rank_unseen(scores, [each.watched.content_rows for each in self._households])
        wanted = [each.wanted_rows for each in self._households]
        return measure_quality(ranked, wanted, self._content_count)


def _compute_scales(setup: Setup) -> tuple[float, float]:
    """Return the noise of likes and of pairs."""
    bounds = ContributionBounds(setup.liked, 4)
    rho = gaussian.compute_rho(setup.epsilon or math.inf, DELTA / 2) / setup.releases
    return (
        math.sqrt(bounds.likes_norm_squared / (2 * rho * setup.likes_share)),
        math.sqrt(bounds.pairs_norm_squared / (2 * rho * setup.pairs_share)),
    )


def _compute_threshold(setup: Setup, scale: float) -> int:
    """Return the threshold of names, as the product's budget has it for noise of this scale."""
    bounds = ContributionBounds(setup.liked, 4)
    budget = make_budget(setup.epsilon or math.inf, DELTA, gaussian)
    shipped = budget.compute_scale(Mechanism.LIKES, bounds)
    return math.ceil(budget.compute_threshold(Mechanism.LIKES, bounds) * scale / shipped)


def _average(draws: Sequence[Quality]) -> Quality:
    """Return the mean of several draws of noise for the same households."""
    return Quality(
        draws[0].households,
        *(
            sum(getattr(each, name) for each in draws) / len(draws)
            for name in ("ndcg", "ndcg_error", "recall", "hit_rate", "coverage")
        ),
    )
