"""How the clusters of the global state score content, with or without own patterns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.encoding import DIMENSION
from constellation_settop.recommending.catalogue import to_fixed_point
from constellation_settop.recommending.scores import PEAK, look_up_log, scale_to_peak, to_rate

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from constellation_settop.recommending.catalogue import Catalogue, Directions
    from constellation_settop.recommending.scores import Scores
    from constellation_settop.values import Cluster

MIN_CLUSTER_COSINE: Final = 6553
"""0.2: a household that is farther from every cluster gets what is popular in all of them."""


class ClusterTaste:
    """The n clusters that a device knows, prepared for ranking."""

    def __init__(self, catalogue: Catalogue, clusters: Collection[Cluster]) -> None:
        """Prepare clusters. Build it again when they change."""
        self.clusters = tuple(clusters)
        patterns = [cluster.pattern for cluster in self.clusters]
        embeddings = np.array([each.embedding for each in patterns], np.float32)
        self._directions = catalogue.centre(embeddings.reshape(-1, DIMENSION))
        self._rates = to_rate(np.array([each.success_rate for each in patterns], np.float64))
        devices = np.array([each.devices for each in self.clusters], np.int64)
        self._strengths = self._rates * look_up_log(devices)
        rows = [catalogue.find_rows(each.content_ids) for each in patterns]
        self._supported_rows = np.concatenate([np.empty(0, np.int64), *rows])
        self._supporters = np.repeat(np.arange(len(rows)), [len(each) for each in rows])
        self._content_count = len(catalogue)

    def compute_weights(self, own: Directions) -> NDArray[np.int64]:
        """Return the weight of each cluster, shape (n,), up to PEAK, for own patterns.

        A cluster weighs its cosine with the nearest own pattern times its success rate. When no
        cluster reaches MIN_CLUSTER_COSINE, each weighs its strength instead, scaled to PEAK.
        """
        products = self._directions.codes.astype(np.float32) @ own.codes.astype(np.float32).T
        products *= self._directions.scales[:, None]
        products *= own.scales
        cosines = to_fixed_point(products).max(axis=1, initial=0).astype(np.int64)
        if cosines.max(initial=0) < MIN_CLUSTER_COSINE:
            return scale_to_peak(self._strengths)
        weights: NDArray[np.int64] = cosines * self._rates // 4096
        return weights

    def compute_support(self, weights: NDArray[np.int64]) -> Scores:
        """Return how much the clusters support each content item.

        A content item gets the sum of the weights of the clusters that were learned from it. The
        largest score equals the largest weight.
        """
        counted = weights[self._supporters]
        sums = np.bincount(self._supported_rows, counted, minlength=self._content_count)
        support: Scores = scale_to_peak(sums.astype(np.int64)) * weights.max(initial=0) // PEAK
        return support

    def find_main_supporter(self, row: int, weights: NDArray[np.int64]) -> Cluster:
        """Return the heaviest cluster that was learned from a content item.

        At least one cluster must have been.
        """
        supporters = self._supporters[self._supported_rows == row]
        return self.clusters[int(supporters[weights[supporters].argmax()])]
