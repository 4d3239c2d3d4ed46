"""The global state that a round published: as stored, and as a shard serves it to devices."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.encoding import normalise_codes
from constellation.federated.published_related import no_dictionary, no_related

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from constellation.encoding import Codes, Embeddings
    from constellation.federated.aggregate import Anchors
    from constellation.federated.published_related import (
        Dictionary,
        PopularList,
        PublishedRelated,
    )
    from constellation.federated.trends import Trend

NEAR_CLUSTERS: Final = 16
"""Clusters for a device that has patterns; few, because similar patterns tell it more."""
COLD_START_CLUSTERS: Final = 100
"""Clusters for a device that has no patterns yet."""


@dataclass(frozen=True, slots=True, order=True)
class RoundKey:
    """Names the global state of one round; the greater of two keys replaces the other."""

    generation: int = 0
    round_id: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class PublishedClusters:
    """Published clusters, strongest first, column by column."""

    ids: Sequence[bytes]
    """16 bytes each; an id names one revision of one cluster."""
    codes: Codes
    """Shape (n, DIMENSION): the centroids."""
    success_rates: NDArray[np.float32]
    """Shape (n,), in [0, 1]."""
    devices: NDArray[np.uint32]
    """Shape (n,): distinct devices."""
    times_of_day: NDArray[np.uint8]
    day_types: NDArray[np.uint8]
    content_types: NDArray[np.uint8]
    changed_at: NDArray[np.uint32]
    """Shape (n,): seconds since 1970, UTC."""
    genres: Sequence[Sequence[str]]
    content_ids: Sequence[Sequence[str]]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(slots=True, eq=False)
class PublishedGlobal:
    """The global state of one round, as a shard serves it."""

    round: RoundKey
    anchors: Anchors
    clusters: PublishedClusters
    trends: Sequence[Trend]
    """Strongest first: global trends and the trends of every region."""
    closed_at: int
    """When the round's pulls ended, in seconds since 1970."""
    revoked_device_ids: frozenset[bytes] = frozenset()
    """Devices that no shard serves any more."""
    dictionary: Dictionary = field(default_factory=no_dictionary)
    """The content items whose pairs shards count."""
    related: PublishedRelated = field(default_factory=no_related)
    popular: Sequence[PopularList] = ()
    """A list for all regions and one for each region, as far as there are any."""
    is_noised: bool = False
    """Whether all of it has noise that hides what any one device did."""
    _centroids: Embeddings = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._centroids = normalise_codes(self.clusters.codes)

    def find_nearest_clusters(self, tastes: Embeddings, capacity: int) -> NDArray[np.int64]:
        """Return the positions of up to `capacity` clusters for a device, best first.

        `tastes` are the device's strongest patterns, at unit length. A device without patterns gets
        the strongest clusters.
        """
        if not len(tastes):
            return np.arange(min(len(self.clusters), COLD_START_CLUSTERS, capacity))
        cosines = (self._centroids @ tastes.T).max(axis=1, initial=-1.0)
        nearest = np.argsort(-cosines, kind="stable")
        return nearest[: min(NEAR_CLUSTERS, capacity)]


@dataclass(frozen=True, slots=True)
class StoredGlobal:
    """The global state of one round in the bytes that the federation published."""

    generation: int
    """From 0 to 2**63 - 1."""
    round_id: int
    """From 0 to 2**63 - 1."""
    payload: bytes
    """At most 16 MiB; a store never looks inside."""
