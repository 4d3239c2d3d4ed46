"""Published clusters: which pass the gates, what describes them, and when they change. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.encoding import DIMENSION, normalise_codes, quantise
from constellation.federated.fixed_point import DAY_TYPES, TIMES_OF_DAY, compute_centroids
from constellation.federated.terms import MAX_CONTENTS, MAX_GENRES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from constellation.encoding import Codes
    from constellation.federated.fixed_point import Integers
    from federation.merge.aggregates import MergedClusters, MergedTerms
    from federation.merge.terms import TermDictionary, Terms

_MIN_GENRE_SHARE: Final = 0.1
"""A genre is published with a cluster if at least this share of the cluster's devices have it."""
_SAME_COSINE: Final = 0.995
"""A centroid whose cosine with the published one is at least this counts as unchanged."""
_SAME_SUCCESS: Final = 0.02
"""A success rate that differs from the published one by at most this counts as unchanged."""
_SAME_DEVICES: Final = 1.5
"""A number of devices that differs by at most this factor counts as unchanged."""


@dataclass(frozen=True, slots=True)
class RoundStamp:
    """Identifies a round, and says when it closed."""

    generation: int
    """When the journal of the federation was made: milliseconds since 1970."""
    round_id: int
    closed_at: int
    """When the pulls of the round ended: seconds since 1970."""


@dataclass(frozen=True, slots=True)
class PublishRules:
    """What a cluster needs to be published. Each field is a setting."""

    min_success: float = 0.8
    """The lowest success rate, from 0 to 1."""
    min_devices: int = 50
    """Devices that a cluster must have, and that must support each of its terms."""
    min_shards: int = 3
    """Shards that a cluster must come from, and that must support each of its terms."""
    limit: int = 1000
    """The largest number of clusters."""


@dataclass(frozen=True, slots=True)
class PublishedCluster:
    """One cluster as shards and devices receive it."""

    cluster_id: int
    revision: int
    """The id of the round that last changed any other field."""
    devices: int
    shards: int
    success_rate: float
    codes: bytes
    """The centroid as DIMENSION int8 codes."""
    time_of_day: int
    """0 if no time of day has most of the cluster's weight. The same holds for the two contexts
    below."""
    day_type: int
    content_type: int
    genres: tuple[str, ...]
    content_ids: tuple[str, ...]
    changed_at: int
    """When the round of `revision` closed: seconds since 1970."""

    def is_like(self, other: PublishedCluster) -> bool:
        """Return whether the difference is too small for a device to notice."""
        codes = np.frombuffer(self.codes + other.codes, np.int8).reshape(2, DIMENSION)
        first, second = normalise_codes(codes)
        return (
            float(first @ second) >= _SAME_COSINE
            and abs(self.success_rate - other.success_rate) <= _SAME_SUCCESS
            and max(self.devices, other.devices) <= _SAME_DEVICES * min(self.devices, other.devices)
            and self.context == other.context
            and set(self.genres) == set(other.genres)
            and set(self.content_ids) == set(other.content_ids)
        )

    @property
    def context(self) -> tuple[int, int, int]:
        """The time of day, the day type and the content type."""
        return self.time_of_day, self.day_type, self.content_type


def describe_clusters(
    cluster_ids: NDArray[np.uint32],
    merged: MergedClusters,
    rules: PublishRules,
    terms: Terms,
    stamp: RoundStamp,
) -> list[PublishedCluster]:
    """Return the clusters that pass the gates of `rules`, those with the most success first."""
    features = merged.features
    success = features.successes / np.maximum(features.weights, 1)
    chosen = _select_publishable(cluster_ids, merged, success, rules)
    codes: Codes = quantise(compute_centroids(features.sums[chosen]))[0]
    contexts = _select_contexts(features.contexts[chosen], features.weights[chosen])
    genre_floors = np.maximum(rules.min_devices, features.devices * _MIN_GENRE_SHARE)
    content_floors = np.full(len(cluster_ids), float(rules.min_devices))
    select_terms = partial(_select_terms, chosen=chosen, min_shards=rules.min_shards)
    genres = select_terms(
        merged.genres, floors=genre_floors, limit=MAX_GENRES, dictionary=terms.genres
    )
    contents = select_terms(
        merged.contents, floors=content_floors, limit=MAX_CONTENTS, dictionary=terms.contents
    )
    return [
        PublishedCluster(
            cluster_id=int(cluster_ids[row]),
            revision=stamp.round_id,
            devices=int(features.devices[row]),
            shards=int(merged.shards[row]),
            success_rate=float(np.float32(success[row])),
            codes=codes[position].tobytes(),
            time_of_day=int(contexts[position, 0]),
            day_type=int(contexts[position, 1]),
            content_type=int(contexts[position, 2]),
            genres=genres[position],
            content_ids=contents[position],
            changed_at=stamp.closed_at,
        )
        for position, row in enumerate(chosen.tolist())
    ]


def _select_publishable(
    cluster_ids: NDArray[np.uint32],
    merged: MergedClusters,
    success: NDArray[np.float64],
    rules: PublishRules,
) -> Integers:
    """Return the rows of the clusters that may be published, those with the most success first."""
    passing = np.flatnonzero(
        (merged.features.weights > 0)
        & (success >= rules.min_success)
        & (merged.capped_devices >= rules.min_devices)
        & (merged.shards >= rules.min_shards)
    )
    order = np.lexsort((cluster_ids[passing], -merged.features.successes[passing]))
    chosen: Integers = passing[order][: rules.limit]
    return chosen


def keep_unchanged(
    now: Sequence[PublishedCluster], before: Sequence[PublishedCluster]
) -> list[PublishedCluster]:
    """Return the clusters of `now`; one that hardly changed is returned as published `before`."""
    published = {each.cluster_id: each for each in before}
    clusters = []
    for each in now:
        old = published.get(each.cluster_id)
        clusters.append(old if old is not None and each.is_like(old) else each)
    return clusters


def _select_contexts(sums: Integers, weights: Integers) -> Integers:
    """Return the time of day, day type and content type with more than half of each row's weight.

    Shape (n, 3). A context is 0 if no value of it has more than half.
    """
    cuts = (TIMES_OF_DAY, TIMES_OF_DAY + DAY_TYPES)
    found = np.empty((len(sums), 3), np.int64)
    for column, part in enumerate(np.split(sums, cuts, axis=1)):
        most = part.argmax(axis=1) if len(part) else np.empty(0, np.int64)
        share = part[np.arange(len(part)), most]
        found[:, column] = np.where(share * 2 > weights, most, 0)
    return found


def _select_terms(
    terms: MergedTerms,
    chosen: Integers,
    min_shards: int,
    floors: NDArray[np.float64],
    limit: int,
    dictionary: TermDictionary,
) -> list[tuple[str, ...]]:
    """Return the terms of each chosen row, those with the most devices first, at most `limit`.

    A term needs at least `floors[row]` devices, and `min_shards` shards that report it, so that no
    term is published because one shard claims it.
    """
    counts = terms.counts
    positions = np.full(len(floors), -1, np.int64)
    positions[chosen] = np.arange(len(chosen))
    enough = (counts.devices >= floors[counts.rows]) & (terms.shards >= min_shards)
    kept = np.flatnonzero((positions[counts.rows] >= 0) & enough)
    rows, numbers, devices = positions[counts.rows[kept]], counts.terms[kept], counts.devices[kept]
    order = np.lexsort((dictionary.rank(numbers), -devices, rows))
    starts = np.searchsorted(rows[order], np.arange(len(chosen) + 1))
    return [
        tuple(dictionary.to_texts(numbers[order[first : min(last, first + limit)]]))
        for first, last in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
    ]
