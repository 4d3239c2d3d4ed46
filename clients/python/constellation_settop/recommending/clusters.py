"""How the clusters of the global state score content, with or without own patterns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.encoding import DIMENSION
from constellation_settop.recommending.scores import Scores, scale_to_one

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from constellation_settop.recommending.catalogue import Catalogue, Rows
    from constellation_settop.values import Cluster

MIN_CLUSTER_COSINE: Final = 0.2
"""A household nearer to no cluster than this gets what is popular, as one without patterns does."""
MAX_ACTIVE_CENTROIDS: Final = 8
"""Clusters whose centroids count in one ranking: those with the largest weights."""


@dataclass(frozen=True, slots=True, eq=False)
class ClusterTaste:
    """The n clusters that a device knows, prepared for ranking."""

    clusters: Sequence[Cluster]
    """The clusters themselves; their positions number the rows below."""
    centred_embeddings: NDArray[np.float32]
    """Shape (n, DIMENSION): the centroids, as `Catalogue.centre` makes them."""
    success_rates: Scores
    """Shape (n,)."""
    strengths: NDArray[np.float32]
    """Shape (n,): success rate times log2(1 + devices)."""
    supported_rows: Rows
    """Shape (m,): catalogue rows that clusters were learned from, one for each such pair."""
    supporting_clusters: NDArray[np.int64]
    """Shape (m,): the cluster that was learned from the row at this position."""

    def compute_weights(self, own_embeddings: NDArray[np.float32]) -> Scores:
        """Return the weight of each cluster, shape (n,), for own patterns of shape (k, DIMENSION).

        A cluster weighs its cosine with the nearest own pattern times its success rate. When no
        cluster reaches MIN_CLUSTER_COSINE, each weighs its strength instead, scaled to 1.
        """
        cosines = (self.centred_embeddings @ own_embeddings.T).max(axis=1, initial=0.0)
        if cosines.max(initial=0.0) < MIN_CLUSTER_COSINE:
            return scale_to_one(self.strengths)
        weights: Scores = cosines * self.success_rates
        return weights

    def compute_support(self, weights: Scores, content_count: int) -> Scores:
        """Return how much the clusters support each content item, shape (content_count,).

        A content item gets the sum of the weights of the clusters that were learned from it. The
        largest score equals the largest weight.
        """
        sums = np.bincount(
            self.supported_rows, weights[self.supporting_clusters], minlength=content_count
        )
        support: Scores = scale_to_one(sums.astype(np.float32)) * weights.max(initial=0.0)
        return support

    def select_centroids(self, weights: Scores) -> NDArray[np.int64]:
        """Return the numbers of the clusters whose centroids count, the heaviest first."""
        heaviest = np.argsort(-weights, kind="stable")[:MAX_ACTIVE_CENTROIDS]
        return heaviest[weights[heaviest] > 0]

    def find_main_supporter(self, row: int, weights: Scores) -> int:
        """Return the number of the heaviest cluster that was learned from a content item.

        At least one cluster must have been.
        """
        supporters = self.supporting_clusters[self.supported_rows == row]
        return int(supporters[weights[supporters].argmax()])


def build_cluster_taste(catalogue: Catalogue, clusters: Collection[Cluster]) -> ClusterTaste:
    """Prepare clusters for ranking. Build it again when they change."""
    patterns = [cluster.pattern for cluster in clusters]
    embeddings = np.array([each.embedding for each in patterns], np.float32)
    rates = [each.success_rate for each in patterns]
    strengths = [each.pattern.success_rate * math.log2(1 + each.devices) for each in clusters]
    rows = [catalogue.find_rows(each.content_ids) for each in patterns]
    return ClusterTaste(
        tuple(clusters),
        catalogue.centre(embeddings.reshape(-1, DIMENSION)),
        np.array(rates, np.float32),
        np.array(strengths, np.float32),
        np.concatenate([np.empty(0, np.int64), *rows]),
        np.repeat(np.arange(len(rows)), [len(each) for each in rows]),
    )
