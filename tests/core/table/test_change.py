from __future__ import annotations

import numpy as np

from constellation.core.rows import PATTERN
from constellation.core.rules import Rules
from constellation.core.table.change import is_shared
from tests.core.ingest.planned_table import PlannedTable
from tests.deltas import PatternSpec, make_delta


def test_only_stored_patterns_of_enough_success_are_shared() -> None:
    rows = np.zeros(3, PATTERN)
    rows["sample_count"] = [1, 1, 0]
    rows["success_rate"] = [0.8, 0.79, 0.9]

    assert is_shared(rows, Rules(share_threshold=0.8)).tolist() == [True, False, False]


def test_a_freed_slot_keeps_the_commit_that_freed_it() -> None:
    shard = PlannedTable()
    shard.commit(make_delta(0, 1, [PatternSpec(1), PatternSpec(2)]))

    shard.commit(make_delta(0, 2, removed=[1]))

    freed = shard.table.patterns[0]
    assert (freed["lsn"], freed["sample_count"]) == (2, 0)
    assert shard.table.pattern_allocator.peek(1).tolist() == [0]
