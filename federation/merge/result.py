"""The result of a round, computed from aggregates and from the state of the last round. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.federated.fixed_point import WEIGHT_ONE
from federation.merge.aggregates import find_positions, merge_aggregates
from federation.merge.candidates import collect_candidates, filter_candidates, merge_candidates
from federation.merge.codebook import (
    ClusterRules,
    Codebook,
    apply_lloyd_step,
    bootstrap_codebook,
    reanchor_codebook,
)
from federation.merge.geometric_median import compute_geometric_medians
from federation.merge.hourly_counts import SECONDS_PER_HOUR
from federation.merge.published_clusters import (
    PublishedCluster,
    PublishRules,
    describe_clusters,
    keep_unchanged,
)
from federation.merge.terms import decode_genres
from federation.merge.trends import ShardCounts, TrendRules, find_trends
from federation.related.result import RelatedRules, RelatedState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from constellation.encoding import Embeddings
    from constellation.federated.fixed_point import Integers
    from constellation.federated.trends import Direction
    from federation.merge.aggregates import MergedClusters, ShardAggregate
    from federation.merge.candidates import OfferedRows
    from federation.merge.published_clusters import RoundStamp
    from federation.merge.terms import Terms
    from federation.merge.trends import SubjectTrend
    from federation.privacy.mode import ReleasePlan
    from federation.privacy.state import NoisedState

MIN_ROBUST_SHARDS: Final = 5
"""A geometric median needs this many shards; with fewer, the mean is used."""


@dataclass(frozen=True, slots=True)
class RoundRules:
    """The settings that decide the result of a round."""

    clusters: ClusterRules = field(default_factory=ClusterRules)
    publishing: PublishRules = field(default_factory=PublishRules)
    trends: TrendRules = field(default_factory=TrendRules)
    related: RelatedRules = field(default_factory=RelatedRules)
    reanchor_hours: float = 24.0
    """Hours between two revisions of the codebook."""
    is_robust: bool = False
    """Move anchors by the geometric median of the shards instead of the mean."""


@dataclass(frozen=True, slots=True, eq=False)
class ModelState:
    """What a round takes over from the last one."""

    codebook: Codebook | None = None
    """None until there is a codebook with anchors."""
    reanchored_at: float = 0.0
    """When the codebook was last made or revised: seconds since 1970."""
    clusters: Sequence[PublishedCluster] = ()
    """The clusters as last published."""
    related: RelatedState = field(default_factory=RelatedState)
    """Related and popular content as last published."""
    noised: NoisedState | None = None
    """What was released with noise; None if what was published last has none."""

    def needs_candidates(self, now: float, reanchor_hours: float) -> bool:
        """Return whether a round that begins at `now` should ask the shards for candidates."""
        if self.codebook is None:
            return True
        return now - self.reanchored_at >= reanchor_hours * SECONDS_PER_HOUR


@dataclass(frozen=True, slots=True)
class FederatedTrend:
    """A content item or a genre that trends in one region or everywhere."""

    content_id: str
    """Empty for the trend of a genre."""
    genre: str
    """Empty for the trend of a content item."""
    score: float
    region: str
    """Empty for a global trend."""
    is_global: bool
    direction: Direction
    popularity: float


@dataclass(frozen=True, slots=True, eq=False)
class RoundInputs:
    """Everything that a round computes its result from, besides the state of the last round."""

    stamp: RoundStamp
    aggregates: Sequence[ShardAggregate]
    """Ordered by shard_id."""
    candidates: OfferedRows | None
    """None if the round did not ask for candidates."""
    terms: Terms
    """The dictionaries that number the terms of the aggregates and candidates."""
    has_likes: bool = False
    """Whether the round asked for likes: then it computes related and popular content anew."""
    plan: ReleasePlan | None = None
    """What may be released with noise; None if what is published has none."""

    def select_current(self) -> list[ShardAggregate]:
        """Return the aggregates whose codebook is of this generation; others are not comparable."""
        return [
            each
            for each in self.aggregates
            if each.header.codebook_generation == self.stamp.generation
        ]


@dataclass(frozen=True, slots=True, eq=False)
class RoundResult:
    """What a round publishes, and the state for the next round."""

    codebook: Codebook
    successors: Mapping[int, int]
    """For each cluster_id that this codebook removed: the id of the nearest anchor."""
    clusters: Sequence[PublishedCluster]
    """Those with the most success first."""
    trends: Sequence[FederatedTrend]
    """The global trends, then the regional ones; each group with the highest scores first."""
    model_state: ModelState


@dataclass(frozen=True, slots=True, eq=False)
class _CodebookStep:
    """The codebook of a round, and the sums over all shards for its clusters."""

    codebook: Codebook
    merged: MergedClusters
    reanchored_at: float
    successors: Mapping[int, int] = field(default_factory=dict)


def compute_result(inputs: RoundInputs, model_state: ModelState, rules: RoundRules) -> RoundResult:
    """Return the result of a round: the same bytes for the same inputs in any order.

    Related and popular content stay as they were: `federation.related` computes them.
    """
    if model_state.codebook is None:
        step = _bootstrap(inputs, rules)
    elif inputs.candidates is not None:
        step = _reanchor(inputs, model_state.codebook, rules)
    else:
        step = _move_anchors(inputs, model_state.codebook, model_state.reanchored_at, rules)
    described = describe_clusters(
        step.codebook.cluster_ids, step.merged, rules.publishing, inputs.terms, inputs.stamp
    )
    clusters = keep_unchanged(described, model_state.clusters)
    has_anchors = len(step.codebook.cluster_ids) > 0  # else the next round bootstraps again
    return RoundResult(
        step.codebook,
        step.successors,
        clusters,
        _compute_trends(inputs, rules.trends),
        replace(
            model_state,
            noised=None,
            codebook=step.codebook if has_anchors else None,
            reanchored_at=step.reanchored_at,
            clusters=clusters,
        ),
    )


def _bootstrap(inputs: RoundInputs, rules: RoundRules) -> _CodebookStep:
    """Make the first codebook from the candidates of all shards."""
    offered = inputs.candidates or {}
    candidates = collect_candidates(offered)
    codebook = bootstrap_codebook(candidates, rules.clusters)
    reanchored_at = float(inputs.stamp.closed_at) if len(codebook.cluster_ids) else 0.0
    merged = merge_candidates(candidates, offered, codebook.anchors)
    return _CodebookStep(codebook, merged, reanchored_at)


def _reanchor(inputs: RoundInputs, codebook: Codebook, rules: RoundRules) -> _CodebookStep:
    """Revise the codebook with the candidates that shards offered."""
    current = inputs.select_current()
    merged = merge_aggregates(current, codebook.cluster_ids)
    candidates = filter_candidates(
        inputs.candidates or {}, current, codebook.cluster_ids, codebook.anchors
    )
    revised, successors = reanchor_codebook(codebook, merged.features, candidates, rules.clusters)
    return _CodebookStep(
        revised,
        merge_aggregates(current, revised.cluster_ids),
        float(inputs.stamp.closed_at),
        successors,
    )


def _move_anchors(
    inputs: RoundInputs, codebook: Codebook, reanchored_at: float, rules: RoundRules
) -> _CodebookStep:
    """Move every anchor by one Lloyd step, towards the mean or the geometric median."""
    current = inputs.select_current()
    merged = merge_aggregates(current, codebook.cluster_ids)
    contributing = [each for each in current if len(each.clusters)]
    medians = None
    if rules.is_robust and len(contributing) >= MIN_ROBUST_SHARDS:
        medians = _compute_medians(contributing, codebook)
    moved = apply_lloyd_step(codebook, merged.features, rules.clusters, medians)
    return _CodebookStep(moved, merged, reanchored_at)


def _compute_medians(aggregates: Sequence[ShardAggregate], codebook: Codebook) -> Embeddings:
    """Return the geometric median of the shards' centroids for each anchor.

    Each shard has one vote in each cluster, whatever weight it claims.
    """
    shape = (len(aggregates), len(codebook.cluster_ids))
    sums = np.zeros((*shape, codebook.anchors.shape[1]), np.int64)
    weights = np.zeros(shape, np.int64)
    for row, aggregate in enumerate(aggregates):
        positions = find_positions(aggregate.clusters.cluster_ids, codebook.cluster_ids)
        is_found = positions >= 0
        features = aggregate.clusters.features
        sums[row, positions[is_found]] = features.sums[is_found]
        weights[row, positions[is_found]] = (features.weights[is_found] > 0) * WEIGHT_ONE
    return compute_geometric_medians(sums, weights)


def _compute_trends(inputs: RoundInputs, rules: TrendRules) -> list[FederatedTrend]:
    """Return the trends of all aggregates in the hours up to the last complete one."""
    subjects = np.unique(
        np.concatenate([np.empty(0, np.int64), *(a.hours.subjects for a in inputs.aggregates)])
    )
    texts = _to_texts(subjects, inputs.terms)
    # Subjects are ranked by their texts, because the order of their numbers may vary.
    order = sorted(range(len(texts)), key=lambda index: texts[index])
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    last_complete_hour = inputs.stamp.closed_at // SECONDS_PER_HOUR - 1
    shards = [
        _rank_subjects(aggregate, subjects, ranks, last_complete_hour)
        for aggregate in inputs.aggregates
    ]
    found = find_trends(shards, rules, len(order))
    return [_to_federated_trend(trend, texts[order[trend.subject]]) for trend in found]


def _to_texts(subjects: Integers, terms: Terms) -> list[tuple[str, str]]:
    """Return the content id and the genre of each subject; one of the two is empty."""
    contents, genres = terms.contents.texts, terms.genres.texts
    return [
        (contents[subject], "") if subject >= 0 else ("", genres[genre])
        for subject, genre in zip(subjects.tolist(), decode_genres(subjects).tolist(), strict=True)
    ]


def _rank_subjects(
    aggregate: ShardAggregate, subjects: Integers, ranks: Integers, newest_hour: int
) -> ShardCounts:
    """Return a shard's hourly counts, with the rank of each subject in place of its number."""
    numbers = ranks[np.searchsorted(subjects, aggregate.hours.subjects)]
    ascending = np.argsort(numbers)
    counts = aggregate.hours.align_to(newest_hour)
    return ShardCounts(
        aggregate.version.shard_id,
        aggregate.header.region,
        aggregate.header.devices,
        numbers[ascending],
        counts[:, ascending],
    )


def _to_federated_trend(trend: SubjectTrend, text: tuple[str, str]) -> FederatedTrend:
    content_id, genre = text
    return FederatedTrend(
        content_id,
        genre,
        round(trend.score, 2),
        trend.region,
        trend.is_global,
        trend.direction,
        round(trend.popularity, 1),
    )
