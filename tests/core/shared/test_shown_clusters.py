from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from constellation.core.shared.named_embeddings import NamedEmbeddings
from constellation.core.shared.shown_clusters import show_clusters
from constellation.encoding import normalise_codes, quantise
from constellation.federated.published import PublishedClusters
from tests.core.shards import open_core
from tests.core.shared.households import RULES
from tests.deltas import embedding
from tests.sharing import add_to_catalogue

if TYPE_CHECKING:
    from collections.abc import Sequence


def publish(
    named: Sequence[Sequence[str]], devices: Sequence[int], secret: int = 7
) -> PublishedClusters:
    """Return clusters whose centroids point to a direction that nothing they name has."""
    count = len(named)
    zeros = np.zeros(count, np.uint8)
    return PublishedClusters(
        ids=[bytes([number]) * 16 for number in range(count)],
        codes=quantise(np.stack([embedding(secret)] * count))[0],
        success_rates=np.full(count, 0.839, np.float32),
        devices=np.array(devices, np.uint32),
        times_of_day=zeros,
        day_types=zeros,
        content_types=zeros + np.uint8(1),
        changed_at=np.arange(count, dtype=np.uint32),
        genres=[(f"genre {number}",) for number in range(count)],
        content_ids=named,
    )


async def show(published: PublishedClusters) -> PublishedClusters:
    async with open_core(rules=RULES) as manager:
        await add_to_catalogue(manager, {"a": 1, "b": 2})
        return await show_clusters(published, NamedEmbeddings(manager.store, manager.table))


async def test_clusters_are_shown_with_the_embedding_of_what_they_name() -> None:
    shown = await show(publish([("a", "b"), ("b",)], [60, 70]))

    both, alone = normalise_codes(shown.codes)
    total = embedding(1) + embedding(2)
    assert both @ (total / np.linalg.norm(total)) == pytest.approx(1, abs=1e-3)
    assert alone @ embedding(2) == pytest.approx(1, abs=1e-3)


async def test_no_byte_of_what_is_shown_depends_on_the_centroid() -> None:
    shown = [await show(publish([("a",)], [60], secret)) for secret in (7, 8)]

    assert shown[0].codes.tobytes() == shown[1].codes.tobytes()


async def test_a_cluster_that_names_nothing_of_the_catalogue_is_not_shown() -> None:
    shown = await show(publish([("unknown",), ("a", "unknown"), ()], [60, 70, 80]))

    assert shown.ids == [b"\1" * 16]
    assert (shown.genres, shown.content_ids) == ([("genre 1",)], [("a", "unknown")])
    assert shown.changed_at.tolist() == [1]
    assert shown.content_types.tolist() == [1]


async def test_success_and_devices_are_rounded() -> None:
    shown = await show(publish([("a",)] * 4, [7, 99, 1239, 4_000_001]))

    assert shown.devices.tolist() == [7, 99, 1200, 4_000_000]
    assert set(shown.success_rates.tolist()) == {0.8125}


async def test_what_is_left_may_be_nothing() -> None:
    empty = await show(publish([("unknown",)], [60]))

    assert (len(empty), empty.codes.shape) == (0, (0, 384))
