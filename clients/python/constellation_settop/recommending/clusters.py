"""Clusters: what they say of content, for a household with or without patterns of its own."""

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
"""A household that no cluster is nearer to is told what is popular, as one without patterns is."""
MAX_ACTIVE_CENTROIDS: Final = 8
"""Clusters whose centroids count at once: those that weigh most."""


@dataclass(frozen=True, slots=True, eq=False)
class ClusterTaste:
    """The clusters a device holds, ready to be ranked with."""

    clusters: Sequence[Cluster]
    centred_embeddings: NDArray[np.float32]
    """Shape (n, DIMENSION)."""
    success_rates: Scores
    """Shape (n,)."""
    strengths: NDArray[np.float32]
    """Shape (n,)."""
    supported_rows: Rows
    """Shape (m,): contents that clusters were learned from ..."""
    supporting_clusters: NDArray[np.int64]
    """Shape (m,): ... and for each the cluster."""

    def compute_weights(self, own: NDArray[np.float32]) -> Scores:
        """Return what each cluster counts, shape (n,), beside own patterns (k, DIMENSION).

        Near clusters count by their nearness; to a household that none is near they count by their
        strength.
        """
        cosines = (self.centred_embeddings @ own.T).max(axis=1, initial=0.0)
        if cosines.max(initial=0.0) < MIN_CLUSTER_COSINE:
            return scale_to_one(self.strengths)
        weights: Scores = cosines * self.success_rates
        return weights

    def compute_support(self, weights: Scores, content_count: int) -> Scores:
        """Return how far clusters of these weights support each content."""
        sums = np.bincount(
            self.supported_rows, weights[self.supporting_clusters], minlength=content_count
        )
        support: Scores = scale_to_one(sums.astype(np.float32)) * weights.max(initial=0.0)
        return support

    def select_centroids(self, weights: Scores) -> NDArray[np.int64]:
        """Return the clusters whose centroids count."""
        heaviest = np.argsort(-weights, kind="stable")[:MAX_ACTIVE_CENTROIDS]
        return heaviest[weights[heaviest] > 0]

    def find_main_supporter(self, row: int, weights: Scores) -> int:
        """Return the cluster that weighs most of those that support a content."""
        supporters = self.supporting_clusters[self.supported_rows == row]
        return int(supporters[weights[supporters].argmax()])


def build_cluster_taste(catalogue: Catalogue, clusters: Collection[Cluster]) -> ClusterTaste:
    """Prepare clusters; needed again when they change."""
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
