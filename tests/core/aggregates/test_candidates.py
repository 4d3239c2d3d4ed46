from __future__ import annotations

from dataclasses import replace

import numpy as np

from constellation.core.table.origins import DeviceOrigin
from tests.core.aggregates.aggregated_table import (
    TWO_ANONYMITY_RULES,
    AggregatedTable,
    make_anchors,
)
from tests.deltas import PatternSpec, embedding, make_delta


def test_local_clusters_are_of_enough_devices() -> None:
    shard = AggregatedTable(TWO_ANONYMITY_RULES)
    for device in range(3):
        shard.commit(make_delta(device, 1, [PatternSpec(1, 0), PatternSpec(2, 10 + device)]))

    candidates = shard.aggregates.compute_candidates(shard.aggregates.sample(0.6), 16)

    assert candidates.features.devices.min() >= 2
    assert candidates.features.devices.max() == 3


def test_local_clusters_are_of_enough_lots() -> None:
    shard = AggregatedTable(TWO_ANONYMITY_RULES)
    for device, lot in enumerate([1, 1, 1, 1, 2, 2, 3, 3]):
        delta = make_delta(device, 1, [PatternSpec(1, 0 if device < 4 else 9)])
        shard.commit(replace(delta, origin=DeviceOrigin(lot=lot)))

    candidates = shard.aggregates.compute_candidates(shard.aggregates.sample(0.6), 16)

    assert candidates.features.devices.tolist() == [4]
    assert candidates.features.sums[0] @ embedding(9) > 0


def test_patterns_near_an_anchor_are_no_candidates() -> None:
    shard = AggregatedTable()
    shard.use_anchors(make_anchors())
    for device in range(3):
        shard.commit(make_delta(device, 1, [PatternSpec(1, 0), PatternSpec(2, 50)]))

    sample = shard.aggregates.sample(0.6)

    assert len(sample.rows) == 3
    assert (sample.rows["pattern_id"] == np.void(PatternSpec(2).pattern_id)).all()


def test_without_patterns_there_are_no_candidates() -> None:
    shard = AggregatedTable()

    candidates = shard.aggregates.compute_candidates(shard.aggregates.sample(0.6), 16)

    assert len(candidates) == 0


def test_the_same_sample_gives_the_same_candidates() -> None:
    shard = AggregatedTable()
    for device in range(6):
        shard.commit(make_delta(device, 1, [PatternSpec(n, 7 * device + n) for n in range(6)]))
    sample = shard.aggregates.sample(0.6)

    first = shard.aggregates.compute_candidates(sample, 4)
    second = shard.aggregates.compute_candidates(sample, 4)

    assert 0 < len(first) <= 4
    assert (first.features.sums == second.features.sums).all()
