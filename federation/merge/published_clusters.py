"""Described: clusters as the world sees them, gated, and unchanged until it matters. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.encoding import DIMENSION, quantise, unit
from constellation.federated.fixed_point import DAY_TYPES, TIMES_OF_DAY, centroids
from constellation.federated.terms import GENRES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from constellation.encoding import Codes
    from constellation.federated.fixed_point import Integers
    from federation.merge.cluster_sums import Merged, Shared
    from federation.merge.terms import Names

CONTENTS: Final = 16
"""Contents that are published of a cluster."""
_GENRE_SHARE: Final = 0.1
"""Share of a cluster's devices that makes a genre one of its genres."""
_SAME_COSINE: Final = 0.995
"""A centroid that turned less is published as it was ..."""
_SAME_SUCCESS: Final = 0.02
"""... unless its success rate moved by more ..."""
_SAME_DEVICES: Final = 1.5
"""... or its devices by a larger factor."""


@dataclass(frozen=True, slots=True)
class Gates:
    """What a cluster needs to be published."""

    min_success: float = 0.8
    min_devices: int = 50
    min_shards: int = 3
    limit: int = 1000


@dataclass(frozen=True, slots=True)
class Description:
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

    def is_like(self, other: Description) -> bool:
        """Say whether a device would not notice the difference."""
        codes = np.frombuffer(self.codes + other.codes, np.int8).reshape(2, DIMENSION)
        first, second = unit(codes)
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


def described(
    cluster_ids: NDArray[np.uint32],
    merged: Merged,
    gates: Gates,
    names: tuple[Names, Names],
    moment: tuple[int, int],
) -> list[Description]:
    """Return the clusters that pass the gates, strongest first.

    `names` are those of contents and of genres, `moment` is the round and when it closed.
    """
    features = merged.features
    success = features.successes / np.maximum(features.weights, 1)
    passing = (
        (features.weights > 0)
        & (success >= gates.min_success)
        & (merged.vouched >= gates.min_devices)
        & (merged.shards >= gates.min_shards)
    )
    chosen = np.flatnonzero(passing)
    chosen = chosen[np.lexsort((cluster_ids[chosen], -features.successes[chosen]))][: gates.limit]
    codes: Codes = quantise(centroids(features.sums[chosen]))[0]
    contexts = _contexts(features.contexts[chosen], features.weights[chosen])
    content_names, genre_names = names
    genre_floor = np.maximum(gates.min_devices, features.devices * _GENRE_SHARE)
    content_floor = np.full(len(cluster_ids), float(gates.min_devices))
    shared = partial(_strongest, chosen=chosen, min_shards=gates.min_shards)
    genres = shared(merged.genres, floors=genre_floor, limit=GENRES, names=genre_names)
    contents = shared(merged.contents, floors=content_floor, limit=CONTENTS, names=content_names)
    return [
        Description(
            int(cluster_ids[row]),
            moment[0],
            int(features.devices[row]),
            int(merged.shards[row]),
            float(np.float32(success[row])),
            codes[place].tobytes(),
            int(contexts[place, 0]),
            int(contexts[place, 1]),
            int(contexts[place, 2]),
            genres[place],
            contents[place],
            moment[1],
        )
        for place, row in enumerate(chosen.tolist())
    ]


def settled(now: Sequence[Description], before: Sequence[Description]) -> list[Description]:
    """Return the clusters, those that hardly changed as they were published before."""
    known = {each.cluster_id: each for each in before}
    return [
        old if (old := known.get(each.cluster_id)) is not None and each.is_like(old) else each
        for each in now
    ]


def _contexts(sums: Integers, weights: Integers) -> Integers:
    """Return time of day, day type and content type of most of each cluster; 0 where none has."""
    cuts = (TIMES_OF_DAY, TIMES_OF_DAY + DAY_TYPES)
    found = np.empty((len(sums), 3), np.int64)
    for column, part in enumerate(np.split(sums, cuts, axis=1)):
        most = part.argmax(axis=1) if len(part) else np.empty(0, np.int64)
        share = part[np.arange(len(part)), most]
        found[:, column] = np.where(share * 2 > weights, most, 0)
    return found


def _strongest(
    shared: Shared,
    chosen: Integers,
    min_shards: int,
    floors: NDArray[np.float64],
    limit: int,
    names: Names,
) -> list[tuple[str, ...]]:
    """Return, for each chosen row, its words of most devices; those of too few are left out.

    So are those of too few shards: one shard's word is not enough.
    """
    words = shared.counts
    place = np.full(len(floors), -1, np.int64)
    place[chosen] = np.arange(len(chosen))
    enough = (words.devices >= floors[words.rows]) & (shared.shards >= min_shards)
    kept = np.flatnonzero((place[words.rows] >= 0) & enough)
    rows, numbers, devices = place[words.rows[kept]], words.words[kept], words.devices[kept]
    order = np.lexsort((names.ranks(numbers), -devices, rows))
    starts = np.searchsorted(rows[order], np.arange(len(chosen) + 1))
    return [
        tuple(names.of(numbers[order[first : min(last, first + limit)]]))
        for first, last in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
    ]
