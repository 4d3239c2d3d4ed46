from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from constellation.core.aggregates.codebook_sums import CodebookSums, FoldInput
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

NO_SLOTS = np.empty(0, np.int64)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.sampled_from([0, 1]))
def test_sums_are_those_of_the_stored_patterns_whatever_happened(  # noqa: C901 - a case a step
    steps: list[Any], min_age_days: int
) -> None:
    rules = replace(RULES, min_device_age_days=min_age_days)
    shard, used, version, now = AggregatedTable(rules), make_anchors(), 1, NOW
    shard.use_anchors(used)
    seqs: dict[int, int] = defaultdict(int)
    for step in steps:
        match step:
            case ("delta", device, upserts, removed, snapshot):
                seqs[device] += 1
                delta = make_delta(device, seqs[device], upserts, removed, snapshot=snapshot)
                shard.commit(delta, now=now)
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
