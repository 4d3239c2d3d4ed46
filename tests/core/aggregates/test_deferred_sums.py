from __future__ import annotations

import numpy as np

from constellation.core.aggregates.codebook_sums import CodebookSums
from constellation.core.aggregates.deferred_sums import DeferredSums
from tests.core.aggregates.aggregated_table import AggregatedTable, make_anchors
from tests.deltas import PatternSpec, make_delta


def test_a_row_overwritten_twice_is_subtracted_as_it_was_counted() -> None:
    shard = AggregatedTable()
    shard.commit(make_delta(0, 1, [PatternSpec(1, 0)]))
    folded = DeferredSums(CodebookSums(shard.table, make_anchors(), 0))
    folded.fold(1, np.array([0]))
    for seq, direction in ((2, 1), (3, 2)):
        overwritten = shard.table.patterns[:1].copy()
        shard.commit(make_delta(0, seq, [PatternSpec(1, direction)]))
        folded.record(np.array([0]), overwritten, shard.table.patterns["device"][:1])

    folded.fold(2)

    assert folded.sums.features.devices.tolist() == [0, 0, 1, 0]
    assert not folded.sums.features.sums[:2].any()


def test_a_fold_counts_what_was_recorded_once() -> None:
    shard = AggregatedTable()
    shard.commit(make_delta(0, 1, [PatternSpec(1, 0), PatternSpec(2, 1)]))
    folded = DeferredSums(CodebookSums(shard.table, make_anchors(), 0))
    none = np.empty(0, np.int64)
    folded.record(none, shard.table.patterns[:0], shard.table.patterns["device"][:2])
    assert folded.pending_count == 2

    folded.fold(1)
    folded.fold(2)

    assert folded.pending_count == 0
    assert folded.sums.features.devices.tolist() == [1, 1, 0, 0]
    assert folded.sums.changed_at.tolist() == [1, 1, 0, 0]
