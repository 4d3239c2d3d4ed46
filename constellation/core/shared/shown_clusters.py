"""Clusters as devices are shown them: what the federation published, without its exact sums.

A federation publishes the centroid of each cluster, and its exact success. Whoever knows all but
one of the devices behind a centroid can subtract them, and whoever knows none may still decode what
few of them watched. So a shard keeps centroids to itself, and shows embeddings of what clusters
name.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.shared.merging import round_success

if TYPE_CHECKING:
    from constellation.core.shared.named_embeddings import NamedEmbeddings
    from constellation.federated.published import PublishedClusters

_DIGITS: Final = 2
"""Significant digits of the number of devices, as others see it, rounded down."""


async def show_clusters(
    published: PublishedClusters, embeddings: NamedEmbeddings
) -> PublishedClusters:
    """Return the clusters that name anything of the catalogue, with embeddings of what they name.

    Success and devices are rounded.
    """
    codes, named = await embeddings.embed(published.content_ids)
    kept = np.flatnonzero(named)
    chosen = kept.tolist()
    units = 10 ** np.maximum(
        np.floor(np.log10(np.maximum(published.devices[kept], 1))).astype(np.int64) + 1 - _DIGITS, 0
    )
    return replace(
        published,
        ids=[published.ids[row] for row in chosen],
        codes=codes[kept],
        success_rates=round_success(published.success_rates[kept]),
        devices=(published.devices[kept] // units * units).astype(np.uint32),
        times_of_day=published.times_of_day[kept],
        day_types=published.day_types[kept],
        content_types=published.content_types[kept],
        changed_at=published.changed_at[kept],
        genres=[published.genres[row] for row in chosen],
        content_ids=[published.content_ids[row] for row in chosen],
    )
