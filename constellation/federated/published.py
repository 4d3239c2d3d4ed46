"""Published: the global of a round as a shard holds it, and which of its clusters a device gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


from typing import TYPE_CHECKING

from constellation.encoding import normalise_codes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from constellation.encoding import Codes, Embeddings
    from constellation.federated.aggregate import Anchors
    from constellation.federated.trends import Trend

NEAR_CLUSTERS: Final = 16
"""Clusters for a device that has patterns: its similar patterns tell more."""
COLD_START_CLUSTERS: Final = 100
"""Clusters for a device that has none yet."""


@dataclass(frozen=True, slots=True, order=True)
class RoundKey:
    """Names a global. A later generation, or a later round of it, replaces an earlier one."""

    generation: int = 0
    round_id: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class PublishedClusters:
    """Published clusters, strongest first, column by column."""

    ids: Sequence[bytes]
    """16 bytes each, naming one revision of one cluster."""
    codes: Codes
    """Shape (n, DIMENSION): the centroids."""
    success_rates: NDArray[np.float32]
    devices: NDArray[np.uint32]
    times_of_day: NDArray[np.uint8]
    day_types: NDArray[np.uint8]
    content_types: NDArray[np.uint8]
    changed_at: NDArray[np.uint32]
    """Seconds since 1970."""
    genres: Sequence[Sequence[str]]
    content_ids: Sequence[Sequence[str]]

    def __len__(self) -> int:
        return len(self.ids)


class PublishedGlobal:
    """What a federation published last."""

    def __init__(
        self,
        round_: RoundKey,
        anchors: Anchors,
        clusters: PublishedClusters,
        trends: Sequence[Trend],
        closed_at: int,
    ) -> None:
        self.round = round_
        self.anchors = anchors
        self.clusters = clusters
        self.trends = trends
        """Strongest first; global ones and those of every region."""
        self.closed_at = closed_at
        """When the round's pulls ended: seconds since 1970."""
        self._centroids = normalise_codes(clusters.codes)

    def find_nearest_clusters(self, tastes: Embeddings, capacity: int) -> NDArray[np.int64]:
        """Return the places of the clusters for a device, best first.

        `tastes` are its strongest patterns, unit length; without any it gets the strongest
        clusters.
        """
        if not len(tastes):
            return np.arange(min(len(self.clusters), COLD_START_CLUSTERS, capacity))
        cosines = (self._centroids @ tastes.T).max(axis=1, initial=-1.0)
        nearest = np.argsort(-cosines, kind="stable")
        return nearest[: min(NEAR_CLUSTERS, capacity)]


@dataclass(frozen=True, slots=True)
class StoredGlobal:
    """A global as the federation published it."""

    generation: int
    """0 to 2**63 - 1, as is the next."""
    round_id: int
    payload: bytes
    """At most 16 MiB, into which a store never looks."""
