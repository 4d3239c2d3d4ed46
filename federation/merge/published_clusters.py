"""Described: clusters as the world sees them, gated, and unchanged until it matters. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.encoding import DIMENSION, normalise_codes, quantise
from constellation.federated.fixed_point import DAY_TYPES, TIMES_OF_DAY, compute_centroids
from constellation.federated.terms import MAX_GENRES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from constellation.encoding import Codes
    from constellation.federated.fixed_point import Integers
    from federation.merge.cluster_sums import MergedClusters, MergedTerms
    from federation.merge.terms import TermDictionary

MAX_CONTENTS: Final = 16
"""Contents that are published of a cluster."""
_MIN_GENRE_SHARE: Final = 0.1
"""Share of a cluster's devices that makes a genre one of its genres."""
_SAME_COSINE: Final = 0.995
"""A centroid that turned less is published as it was ..."""
_SAME_SUCCESS: Final = 0.02
"""... unless its success rate moved by more ..."""
_SAME_DEVICES: Final = 1.5
"""... or its devices by a larger factor."""


@dataclass(frozen=True, slots=True)
class PublishRules:
    """What a cluster needs to be published."""

    min_success: float = 0.8
    min_devices: int = 50
    min_shards: int = 3
    limit: int = 1000


@dataclass(frozen=True, slots=True)
class PublishedCluster:
    """One published cluster."""

    cluster_id: int
    revision: int
    """The round that last changed what follows."""
    devices: int
    shards: int
    success_rate: float
    codes: bytes
    """DIMENSION int8 codes of the centroid."""
    time_of_day: int
    day_type: int
    content_type: int
    genres: tuple[str, ...]
    content_ids: tuple[str, ...]
    changed_at: int
    """Seconds since 1970: when that round closed."""

    def is_like(self, other: PublishedCluster) -> bool:
        """Say whether a device would not notice the difference."""
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
        return self.time_of_day, self.day_type, self.content_type


def describe_clusters(
    cluster_ids: NDArray[np.uint32],
    merged: MergedClusters,
    rules: PublishRules,
    terms: tuple[TermDictionary, TermDictionary],
    stamp: tuple[int, int],
) -> list[PublishedCluster]:
    """Return the clusters that pass the gates, strongest first.

    `names` are those of contents and of genres, `moment` is the round and when it closed.
    """
    features = merged.features
    success = features.successes / np.maximum(features.weights, 1)
    passing = (
        (features.weights > 0)
        & (success >= rules.min_success)
        & (merged.capped_devices >= rules.min_devices)
        & (merged.shards >= rules.min_shards)
    )
    chosen = np.flatnonzero(passing)
    chosen = chosen[np.lexsort((cluster_ids[chosen], -features.successes[chosen]))][: rules.limit]
    codes: Codes = quantise(compute_centroids(features.sums[chosen]))[0]
    contexts = _select_contexts(features.contexts[chosen], features.weights[chosen])
    content_names, genre_names = terms
    genre_floor = np.maximum(rules.min_devices, features.devices * _MIN_GENRE_SHARE)
    content_floor = np.full(len(cluster_ids), float(rules.min_devices))
    select_terms = partial(_select_terms, chosen=chosen, min_shards=rules.min_shards)
    genres = select_terms(
        merged.genres, floors=genre_floor, limit=MAX_GENRES, dictionary=genre_names
    )
    contents = select_terms(
        merged.contents, floors=content_floor, limit=MAX_CONTENTS, dictionary=content_names
    )
    return [
        PublishedCluster(
            int(cluster_ids[row]),
            stamp[0],
            int(features.devices[row]),
            int(merged.shards[row]),
            float(np.float32(success[row])),
            codes[position].tobytes(),
            int(contexts[position, 0]),
            int(contexts[position, 1]),
            int(contexts[position, 2]),
            genres[position],
            contents[position],
            stamp[1],
        )
        for position, row in enumerate(chosen.tolist())
    ]


def keep_unchanged(
    now: Sequence[PublishedCluster], before: Sequence[PublishedCluster]
) -> list[PublishedCluster]:
    """Return the clusters, those that hardly changed as they were published before."""
    known = {each.cluster_id: each for each in before}
    return [
        old if (old := known.get(each.cluster_id)) is not None and each.is_like(old) else each
        for each in now
    ]


def _select_contexts(sums: Integers, weights: Integers) -> Integers:
    """Return time of day, day type and content type of most of each cluster; 0 where none has."""
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
    """Return, for each chosen row, its words of most devices; those of too few are left out.

    So are those of too few shards: one shard's word is not enough.
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
