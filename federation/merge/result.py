"""Result: what a round makes of the aggregates it has, the codebook before, and the hour. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.federated.clustering import nearest
from constellation.federated.fixed_point import WEIGHT_ONE, Integers, centroids, joined
from federation.merge.cluster_sums import (
    Merged,
    Shared,
    added,
    capped,
    concatenated,
    merge,
    places,
    scaled,
)
from federation.merge.codebook import (
    Candidates,
    ClusterRules,
    Codebook,
    assigned,
    bootstrap,
    reanchor,
    robust_anchors,
    step,
)
from federation.merge.hourly_counts import HOURS
from federation.merge.published_clusters import Description, Gates, described, settled
from federation.merge.trends import ShardCounts, TrendRules, federated_trends

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from constellation.federated.aggregate import ClusterRows, WordCounts
    from constellation.federated.trends import Direction
    from federation.merge.cluster_sums import ShardAggregate
    from federation.merge.terms import Names

ROBUST_FROM: Final = 5
"""Shards that a geometric median needs."""
_SECONDS_PER_HOUR: Final = 3600


@dataclass(frozen=True, slots=True)
class RoundRules:
    """The numbers that rounds go by; each is a setting."""

    clusters: ClusterRules = field(default_factory=ClusterRules)
    gates: Gates = field(default_factory=Gates)
    trends: TrendRules = field(default_factory=TrendRules)
    reanchor_hours: float = 24.0
    robust: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """What a round builds on, of the rounds before."""

    codebook: Codebook | None = None
    reanchored_at: float = 0.0
    clusters: Sequence[Description] = ()
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
class Result:
    """What a round publishes, and what the next one builds on."""

    codebook: Codebook
    retired: Mapping[int, int]
    """Ids that disappeared with this codebook, and which anchor is nearest to each."""
    clusters: Sequence[Description]
    trends: Sequence[FederatedTrend]
    memory: Memory


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """What a round has heard."""

    round_id: int
    closed_at: int
    """Seconds since 1970."""
    aggregates: Sequence[ShardAggregate]
    """In the order of shard_id."""
    candidates: Mapping[int, ClusterRows] | None
    """By shard_id; None when none were asked for."""
    names: tuple[Names, Names]
    """Contents and genres."""
    generation: int
    """Sums over the codebook of another generation mean nothing here."""

    def summed(self) -> list[ShardAggregate]:
        """Return the aggregates with sums over a codebook of this generation."""
        return [
            each for each in self.aggregates if each.facts.codebook_generation == self.generation
        ]

    def offered(self) -> list[tuple[int, ClusterRows]]:
        """Return the local clusters, in the order of shard_id."""
        return sorted((self.candidates or {}).items())


def work_out(inputs: Inputs, memory: Memory, rules: RoundRules) -> Result:
    """Return a round's result: the same bytes for the same inputs, in whatever order they came."""
    candidates = _candidates(inputs)
    retired: Mapping[int, int] = {}
    reanchored_at = memory.reanchored_at
    if memory.codebook is None:
        codebook = bootstrap(candidates, rules.clusters)
        merged = _of_candidates(candidates, inputs, codebook)
        reanchored_at = float(inputs.closed_at) if len(codebook.cluster_ids) else 0.0
    else:
        summed = inputs.summed()
        merged = merge(summed, memory.codebook.cluster_ids)
        if inputs.candidates is not None:
            honest = _within_sums(inputs, summed, memory.codebook)
            codebook, retired = reanchor(memory.codebook, merged.features, honest, rules.clusters)
            merged = merge(summed, codebook.cluster_ids)
            reanchored_at = float(inputs.closed_at)
        else:
            codebook = _stepped(memory.codebook, merged, summed, rules)
    clusters = settled(
        described(
            codebook.cluster_ids,
            merged,
            rules.gates,
            inputs.names,
            (inputs.round_id, inputs.closed_at),
        ),
        memory.clusters,
    )
    known = codebook if len(codebook.cluster_ids) else None  # nothing yet: ask for candidates again
    return Result(
        codebook,
        retired,
        clusters,
        _trends(inputs, rules.trends),
        Memory(known, reanchored_at, clusters),
    )


def _stepped(
    codebook: Codebook, merged: Merged, aggregates: Sequence[ShardAggregate], rules: RoundRules
) -> Codebook:
    """Return the codebook after one Lloyd step: of the mean, or of the geometric median.

    In the latter each shard has one vote in each cluster, whatever weight it claims.
    """
    contributing = [each for each in aggregates if len(each.clusters)]
    if not rules.robust or len(contributing) < ROBUST_FROM:
        return step(codebook, merged.features, rules.clusters)
    shape = (len(contributing), len(codebook.cluster_ids))
    sums = np.zeros((*shape, codebook.anchors.shape[1]), np.int64)
    weights = np.zeros(shape, np.int64)
    for row, aggregate in enumerate(contributing):
        place = places(aggregate.clusters.cluster_ids, codebook.cluster_ids)
        features = aggregate.clusters.features
        sums[row, place[place >= 0]] = features.sums[place >= 0]
        weights[row, place[place >= 0]] = (features.weights[place >= 0] > 0) * WEIGHT_ONE
    return step(codebook, merged.features, rules.clusters, robust_anchors(sums, weights))


def _candidates(inputs: Inputs) -> Candidates:
    offered = inputs.offered()
    rows = concatenated([rows for _, rows in offered])
    shard_ids = [np.full(len(rows), shard_id) for shard_id, rows in offered]
    return Candidates(np.concatenate([np.empty(0, np.int64), *shard_ids]), rows.features)


def _within_sums(
    inputs: Inputs, aggregates: Sequence[ShardAggregate], codebook: Codebook
) -> Candidates:
    """Return the local clusters that a shard's own sums bear out, scaled down as those are.

    A shard that offers more than it has summed up at an anchor offers nothing there: else it could
    take the sums of others away.
    """
    factors = capped([int(each.clusters.features.weights.sum()) for each in aggregates])
    known = {each.of.shard_id: place for place, each in enumerate(aggregates)}
    shard_ids, parts = [np.empty(0, np.int64)], []
    for shard_id, rows in inputs.offered():
        if (place := known.get(shard_id)) is None:
            continue
        clusters = aggregates[place].clusters
        anchors, _ = nearest(centroids(rows.features.sums), codebook.anchors)
        claimed = np.bincount(anchors, rows.features.weights, minlength=len(codebook.anchors))
        summed = np.zeros(len(codebook.anchors))
        at = places(clusters.cluster_ids, codebook.cluster_ids)
        summed[at[at >= 0]] = clusters.features.weights[at >= 0]
        chosen = np.flatnonzero(claimed[anchors] <= summed[anchors])
        shard_ids.append(np.full(len(chosen), shard_id))
        parts.append(scaled(rows.features.rows(chosen), factors[place]))
    return Candidates(np.concatenate(shard_ids), joined(parts))


def _of_candidates(candidates: Candidates, inputs: Inputs, codebook: Codebook) -> Merged:
    """Return the clusters of a first codebook: local clusters, added up by their nearest anchor."""
    features, shards = assigned(candidates, codebook)
    rows = concatenated([rows for _, rows in inputs.offered()])
    if not len(codebook.cluster_ids):
        return Merged(features, shards, features.devices, added([]), added([]))
    anchors, _ = nearest(centroids(candidates.features.sums), codebook.anchors)
    return Merged(
        features,
        shards,
        features.devices,
        _most_then_added(rows.genres, candidates.shard_ids, anchors),
        _most_then_added(rows.contents, candidates.shard_ids, anchors),
    )


def _most_then_added(words: WordCounts, shard_ids: Integers, anchors: Integers) -> Shared:
    """Return devices by (anchor, word): the most of a shard's local clusters, over all shards.

    A device may be in several local clusters of its shard: the sum would count it twice.
    """
    parts = []
    for shard_id in np.unique(shard_ids[words.rows]).tolist():
        chosen = shard_ids[words.rows] == shard_id
        keys = np.stack([anchors[words.rows[chosen]], words.words[chosen]])
        distinct, which = np.unique(keys, axis=1, return_inverse=True)
        most = np.zeros(distinct.shape[1], np.int64)
        np.maximum.at(most, which.ravel(), words.devices[chosen])
        parts.append(type(words)(distinct[0], distinct[1], most, words.texts))
    return added(parts)


def _trends(inputs: Inputs, rules: TrendRules) -> list[FederatedTrend]:
    newest = inputs.closed_at // _SECONDS_PER_HOUR - 1
    """The last hour that is complete."""
    subjects = np.unique(
        np.concatenate([np.empty(0, np.int64), *(a.hours.subjects for a in inputs.aggregates)])
    )
    texts = _texts(subjects, inputs)
    order = sorted(range(len(texts)), key=lambda place: texts[place])
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    shards = []
    for aggregate in inputs.aggregates:
        numbers = ranks[np.searchsorted(subjects, aggregate.hours.subjects)]
        ascending = np.argsort(numbers)
        counts = aggregate.hours.window(newest)
        assert len(counts) == HOURS
        shards.append(
            ShardCounts(
                aggregate.of.shard_id,
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
        for found in federated_trends(shards, rules, len(order))
    ]


def _texts(subjects: Integers, inputs: Inputs) -> list[tuple[str, str]]:
    """Return the content id and the genre of each subject, one of them empty."""
    contents, genres = (names.texts for names in inputs.names)
    return [
        (contents[number], "") if number >= 0 else ("", genres[-1 - number])
        for number in subjects.tolist()
    ]
