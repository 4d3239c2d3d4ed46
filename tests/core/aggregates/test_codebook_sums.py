from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from constellation.core.aggregates.codebook_sums import CodebookSums, FoldInput
from constellation.core.table.origins import DeviceOrigin
from tests.core.aggregates.aggregated_table import (
    NOW,
    RULES,
    AggregatedTable,
    compute_by_hand,
    make_anchors,
    require_same,
)
from tests.core.aggregates.steps import STEPS
from tests.deltas import PatternSpec, make_delta

if TYPE_CHECKING:
    from constellation.federated.aggregate import Anchors

NO_SLOTS = np.empty(0, np.int64)


def play(shard: AggregatedTable, steps: list[Any]) -> Anchors:
    """Play the steps of a history; return the anchors that are used at its end."""
    used, version, now = make_anchors(), 1, NOW
    shard.use_anchors(used)
    seqs: dict[int, int] = defaultdict(int)
    for step in steps:
        match step:
            case ("delta", device, upserts, removed, snapshot):
                seqs[device] += 1
                delta = make_delta(device, seqs[device], upserts, removed, snapshot=snapshot)
                origin = DeviceOrigin(lot=1 + (device + seqs[device] // 2) % 3)
                shard.commit(replace(delta, origin=origin), now=now)
            case ("quarantine", device, lift):
                shard.quarantine(device, lift=lift, now=now)
            case ("next day",):
                now += 86_400
                shard.recount(now)
            case ("expire", device):
                shard.expire(device)
                seqs[device] = 0
            case ("fold",):
                shard.aggregates.fold()
            case ("switch", first):
                version += 1
                used = make_anchors(version, first)
                shard.use_anchors(used)

    shard.recount(now)
    return used


@settings(max_examples=60, deadline=None)
@given(STEPS, st.sampled_from([0, 1]))
def test_sums_are_those_of_the_stored_patterns_whatever_happened(
    steps: list[Any], min_age_days: int
) -> None:
    shard = AggregatedTable(replace(RULES, min_device_age_days=min_age_days))
    used = play(shard, steps)

    update = shard.get_update()

    require_same(update, compute_by_hand(shard, used))
    terms = update.clusters.contents
    counted = {
        (int(update.clusters.cluster_ids[row]), terms.texts[term]): count
        for row, term, count in zip(
            terms.rows.tolist(), terms.terms.tolist(), terms.devices.tolist(), strict=True
        )
    }
    expected: dict[tuple[int, str], int] = defaultdict(int)
    for cluster_id, cluster in compute_by_hand(shard, used).items():
        for _, text in cluster["contents"]:
            expected[cluster_id, text] += 1
    assert counted == expected


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_a_cluster_leaves_the_shard_when_its_devices_are_of_enough_origins(
    steps: list[Any],
) -> None:
    shard = AggregatedTable(replace(RULES, k_anonymity=2))
    used = play(shard, steps)

    update = shard.get_update()

    standing = shard.table.standing
    required = standing.require_origins(2)
    enough = {
        cluster_id: cluster
        for cluster_id, cluster in compute_by_hand(shard, used).items()
        if len(cluster["devices"]) >= 2
        and len({int(standing.numbers[each]) for each in cluster["devices"]}) >= required
    }
    require_same(update, enough)


def test_a_pattern_that_never_succeeded_counts_its_device_once() -> None:
    shard = AggregatedTable(replace(RULES, quality_threshold=0.0))
    shard.use_anchors(make_anchors())
    for seq in range(1, 5):
        shard.commit(make_delta(0, seq, [PatternSpec(1, 0, success_rate=0.0, sample_count=seq)]))
        shard.aggregates.fold()

    assert shard.get_update().clusters.features.devices.tolist() == [1]


def test_a_pattern_far_from_every_anchor_is_residual() -> None:
    shard = AggregatedTable()
    shard.commit(make_delta(0, 1, [PatternSpec(1, 0), PatternSpec(2, 50)]))
    sums = CodebookSums(shard.table, make_anchors(), 0)
    slots = np.arange(2)
    sums.fold(FoldInput(np.array([0]), NO_SLOTS, shard.table.patterns[:0]), 1)

    residual = sums.find_residual_slots(slots, 0.6)

    assert residual.tolist() == [1]
    assert sums.find_residual_slots(slots, 1.0).tolist() == [0, 1]


def test_an_anchor_looked_up_ahead_is_forgotten_when_the_pattern_changes() -> None:
    shard = AggregatedTable()
    shard.commit(make_delta(0, 1, [PatternSpec(1, 0)]))
    sums = CodebookSums(shard.table, make_anchors(), 0)
    sums.assign_anchors(np.array([0]))
    shard.commit(make_delta(0, 2, [PatternSpec(1, 1)]))

    sums.fold(FoldInput(np.array([0]), NO_SLOTS, shard.table.patterns[:0]), 1)

    assert sums.features.devices.tolist() == [0, 1, 0, 0]
