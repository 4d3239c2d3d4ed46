from __future__ import annotations

import numpy as np

from constellation.federated.aggregate import ClusterRows, ClusterTerms, no_terms
from constellation.federated.fixed_point import no_sums

TERMS = ClusterTerms(
    rows=np.array([0, 0, 1, 2]),
    terms=np.array([0, 1, 1, 2]),
    devices=np.array([9, 5, 7, 3]),
    texts=("a", "b", "c"),
)


def test_terms_follow_their_rows_and_stay_sorted() -> None:
    moved = TERMS.remap_rows(np.array([1, -1, 0]))

    assert moved.rows.tolist() == [0, 1, 1]
    assert [moved.texts[term] for term in moved.terms] == ["c", "a", "b"]
    assert moved.devices.tolist() == [3, 9, 5]


def test_selected_clusters_take_their_terms_along() -> None:
    rows = ClusterRows(
        np.array([11, 12, 13], np.uint32), np.array([1, 2, 3]), no_sums(3), no_terms(), TERMS
    )

    chosen = rows.select(np.array([2, 0]))

    assert chosen.cluster_ids.tolist() == [13, 11]
    assert chosen.versions.tolist() == [3, 1]
    assert chosen.contents.rows.tolist() == [0, 1, 1]
