"""Result: what a round makes of the aggregates it has, the codebook before, and the hour. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.federated.clustering import find_nearest
from constellation.federated.fixed_point import (
    WEIGHT_ONE,
    Integers,
    compute_centroids,
    concatenate_sums,
)
from federation.merge.cluster_sums import (
    MergedClusters,
    MergedTerms,
    add_term_counts,
    cap_weights,
    concatenate_rows,
    find_positions,
    merge_aggregates,
    scale_sums,
)
from federation.merge.codebook import (
    Candidates,
    ClusterRules,
    Codebook,
    apply_lloyd_step,
    assign_candidates,
    bootstrap_codebook,
    compute_geometric_medians,
    reanchor_codebook,
)
from federation.merge.hourly_counts import HOURS
from federation.merge.published_clusters import (
    PublishedCluster,
    PublishRules,
    describe_clusters,
    keep_unchanged,
)
from federation.merge.trends import ShardCounts, TrendRules, find_trends

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from constellation.federated.aggregate import ClusterRows, ClusterTerms
    from constellation.federated.trends import Direction
    from federation.merge.cluster_sums import ShardAggregate
    from federation.merge.terms import TermDictionary

MIN_ROBUST_SHARDS: Final = 5
"""Shards that a geometric median needs."""
_SECONDS_PER_HOUR: Final = 3600


@dataclass(frozen=True, slots=True)
class RoundRules:
    """The numbers that rounds go by; each is a setting."""

    clusters: ClusterRules = field(default_factory=ClusterRules)
    publishing: PublishRules = field(default_factory=PublishRules)
    trends: TrendRules = field(default_factory=TrendRules)
    reanchor_hours: float = 24.0
    is_robust: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ModelState:
    """What a round builds on, of the rounds before."""

    codebook: Codebook | None = None
    reanchored_at: float = 0.0
    clusters: Sequence[PublishedCluster] = ()
    """As they were published last."""

    def needs_candidates(self, now: float, reanchor_hours: float) -> bool:
        """Say whether a round that begins now asks shards for local clusters."""
        if self.codebook is None:
            return True
        return now - self.reanchored_at >= reanchor_hours * _SECONDS_PER_HOUR


@dataclass(frozen=True, slots=True)
class FederatedTrend:
    """A content or a genre that trends, in a region or everywhere."""

    content_id: str
    genre: str
    score: float
    region: str
    is_global: bool
    direction: Direction
    popularity: float


@dataclass(frozen=True, slots=True, eq=False)
class RoundResult:
    """What a round publishes, and what the next one builds on."""

    codebook: Codebook
    successors: Mapping[int, int]
    """Ids that disappeared with this codebook, and which anchor is nearest to each."""
    clusters: Sequence[PublishedCluster]
    trends: Sequence[FederatedTrend]
    model_state: ModelState


@dataclass(frozen=True, slots=True, eq=False)
class RoundInputs:
    """What a round has heard."""

    round_id: int
    closed_at: int
    """Seconds since 1970."""
    aggregates: Sequence[ShardAggregate]
    """In the order of shard_id."""
    candidates: Mapping[int, ClusterRows] | None
    """By shard_id; None when none were asked for."""
    terms: tuple[TermDictionary, TermDictionary]
    """Contents and genres."""
    generation: int
    """Sums over the codebook of another generation mean nothing here."""

    def select_current(self) -> list[ShardAggregate]:
        """Return the aggregates with sums over a codebook of this generation."""
        return [
            each for each in self.aggregates if each.facts.codebook_generation == self.generation
        ]

    def sort_candidates(self) -> list[tuple[int, ClusterRows]]:
        """Return the local clusters, in the order of shard_id."""
        return sorted((self.candidates or {}).items())


def compute_result(inputs: RoundInputs, model_state: ModelState, rules: RoundRules) -> RoundResult:
    """Return a round's result: the same bytes for the same inputs, in whatever order they came."""
    candidates = _collect_candidates(inputs)
    successors: Mapping[int, int] = {}
    reanchored_at = model_state.reanchored_at
    if model_state.codebook is None:
        codebook = bootstrap_codebook(candidates, rules.clusters)
        merged = _merge_candidates(candidates, inputs, codebook)
        reanchored_at = float(inputs.closed_at) if len(codebook.cluster_ids) else 0.0
    else:
        current = inputs.select_current()
        merged = merge_aggregates(current, model_state.codebook.cluster_ids)
        if inputs.candidates is not None:
            honest = _filter_candidates(inputs, current, model_state.codebook)
            codebook, successors = reanchor_codebook(
                model_state.codebook, merged.features, honest, rules.clusters
            )
            merged = merge_aggregates(current, codebook.cluster_ids)
            reanchored_at = float(inputs.closed_at)
        else:
            codebook = _update_codebook(model_state.codebook, merged, current, rules)
    clusters = keep_unchanged(
        describe_clusters(
            codebook.cluster_ids,
            merged,
            rules.publishing,
            inputs.terms,
            (inputs.round_id, inputs.closed_at),
        ),
        model_state.clusters,
    )
    known = codebook if len(codebook.cluster_ids) else None  # nothing yet: ask for candidates again
    return RoundResult(
        codebook,
        successors,
        clusters,
        _compute_trends(inputs, rules.trends),
        ModelState(known, reanchored_at, clusters),
    )


def _update_codebook(
    codebook: Codebook,
    merged: MergedClusters,
    aggregates: Sequence[ShardAggregate],
    rules: RoundRules,
) -> Codebook:
    """Return the codebook after one Lloyd step: of the mean, or of the geometric median.

    In the latter each shard has one vote in each cluster, whatever weight it claims.
    """
    contributing = [each for each in aggregates if len(each.clusters)]
    if not rules.is_robust or len(contributing) < MIN_ROBUST_SHARDS:
        return apply_lloyd_step(codebook, merged.features, rules.clusters)
    shape = (len(contributing), len(codebook.cluster_ids))
    sums = np.zeros((*shape, codebook.anchors.shape[1]), np.int64)
    weights = np.zeros(shape, np.int64)
    for row, aggregate in enumerate(contributing):
        positions = find_positions(aggregate.clusters.cluster_ids, codebook.cluster_ids)
        features = aggregate.clusters.features
        sums[row, positions[positions >= 0]] = features.sums[positions >= 0]
        weights[row, positions[positions >= 0]] = (
            features.weights[positions >= 0] > 0
        ) * WEIGHT_ONE
    return apply_lloyd_step(
        codebook, merged.features, rules.clusters, compute_geometric_medians(sums, weights)
    )


def _collect_candidates(inputs: RoundInputs) -> Candidates:
    offered = inputs.sort_candidates()
    rows = concatenate_rows([rows for _, rows in offered])
    shard_ids = [np.full(len(rows), shard_id) for shard_id, rows in offered]
    return Candidates(np.concatenate([np.empty(0, np.int64), *shard_ids]), rows.features)


def _filter_candidates(
    inputs: RoundInputs, aggregates: Sequence[ShardAggregate], codebook: Codebook
) -> Candidates:
    """Return the local clusters that a shard's own sums bear out, scaled down as those are.

    A shard that offers more than it has summed up at an anchor offers nothing there: else it could
    take the sums of others away.
    """
    factors = cap_weights([int(each.clusters.features.weights.sum()) for each in aggregates])
    known = {each.version.shard_id: index for index, each in enumerate(aggregates)}
    shard_ids, parts = [np.empty(0, np.int64)], []
    for shard_id, rows in inputs.sort_candidates():
        if (place := known.get(shard_id)) is None:
            continue
        clusters = aggregates[place].clusters
        anchors, _ = find_nearest(compute_centroids(rows.features.sums), codebook.anchors)
        claimed = np.bincount(anchors, rows.features.weights, minlength=len(codebook.anchors))
        summed = np.zeros(len(codebook.anchors))
        positions = find_positions(clusters.cluster_ids, codebook.cluster_ids)
        summed[positions[positions >= 0]] = clusters.features.weights[positions >= 0]
        chosen = np.flatnonzero(claimed[anchors] <= summed[anchors])
        shard_ids.append(np.full(len(chosen), shard_id))
        parts.append(scale_sums(rows.features.select(chosen), factors[place]))
    return Candidates(np.concatenate(shard_ids), concatenate_sums(parts))


def _merge_candidates(
    candidates: Candidates, inputs: RoundInputs, codebook: Codebook
) -> MergedClusters:
    """Return the clusters of a first codebook: local clusters, added up by their nearest anchor."""
    features, shards = assign_candidates(candidates, codebook)
    rows = concatenate_rows([rows for _, rows in inputs.sort_candidates()])
    if not len(codebook.cluster_ids):
        return MergedClusters(
            features, shards, features.devices, add_term_counts([]), add_term_counts([])
        )
    anchors, _ = find_nearest(compute_centroids(candidates.features.sums), codebook.anchors)
    return MergedClusters(
        features,
        shards,
        features.devices,
        _merge_candidate_terms(rows.genres, candidates.shard_ids, anchors),
        _merge_candidate_terms(rows.contents, candidates.shard_ids, anchors),
    )


def _merge_candidate_terms(
    counts: ClusterTerms, shard_ids: Integers, anchors: Integers
) -> MergedTerms:
    """Return devices by (anchor, word): the most of a shard's local clusters, over all shards.

    A device may be in several local clusters of its shard: the sum would count it twice.
    """
    parts = []
    for shard_id in np.unique(shard_ids[counts.rows]).tolist():
        chosen = shard_ids[counts.rows] == shard_id
        keys = np.stack([anchors[counts.rows[chosen]], counts.terms[chosen]])
        distinct, which = np.unique(keys, axis=1, return_inverse=True)
        most = np.zeros(distinct.shape[1], np.int64)
        np.maximum.at(most, which.ravel(), counts.devices[chosen])
        parts.append(type(counts)(distinct[0], distinct[1], most, counts.texts))
    return add_term_counts(parts)


def _compute_trends(inputs: RoundInputs, rules: TrendRules) -> list[FederatedTrend]:
    newest = inputs.closed_at // _SECONDS_PER_HOUR - 1
    """The last hour that is complete."""
    subjects = np.unique(
        np.concatenate([np.empty(0, np.int64), *(a.hours.subjects for a in inputs.aggregates)])
    )
    texts = _to_texts(subjects, inputs)
    order = sorted(range(len(texts)), key=lambda index: texts[index])
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    shards = []
    for aggregate in inputs.aggregates:
        numbers = ranks[np.searchsorted(subjects, aggregate.hours.subjects)]
        ascending = np.argsort(numbers)
        counts = aggregate.hours.align_to(newest)
        assert len(counts) == HOURS
        shards.append(
            ShardCounts(
                aggregate.version.shard_id,
                aggregate.facts.region,
                aggregate.facts.devices,
                numbers[ascending],
                counts[:, ascending],
            )
        )
    return [
        FederatedTrend(
            texts[order[found.subject]][0],
            texts[order[found.subject]][1],
            round(found.score, 2),
            found.region,
            found.is_global,
            found.direction,
            round(found.popularity, 1),
        )
        for found in find_trends(shards, rules, len(order))
    ]


def _to_texts(subjects: Integers, inputs: RoundInputs) -> list[tuple[str, str]]:
    """Return the content id and the genre of each subject, one of them empty."""
    contents, genres = (dictionary.texts for dictionary in inputs.terms)
    return [
        (contents[number], "") if number >= 0 else ("", genres[-1 - number])
        for number in subjects.tolist()
    ]
