"""Random histories of a shard, for Hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.core.aggregates.aggregated_table import DIRECTIONS
from tests.deltas import PatternSpec

PATTERNS = st.builds(
    PatternSpec,
    number=st.integers(0, 5),
    direction=st.integers(0, DIRECTIONS - 1),
    success_rate=st.sampled_from([0.75, 0.9, 1.0]),
    sample_count=st.sampled_from([1, 5, 16, 10**9]),
    genres=st.lists(st.sampled_from(["Drama", "Comedy"]), unique=True).map(tuple),
    contents=st.lists(st.sampled_from(["a", "b", "c"]), unique=True).map(tuple),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("delta"),
            st.integers(0, 3),
            st.lists(PATTERNS, max_size=3, unique_by=lambda pattern: pattern.number),
            st.lists(st.integers(0, 5), max_size=2, unique=True),
            st.booleans(),
        ),
        st.tuples(st.just("expire"), st.integers(0, 3)),
        st.tuples(st.just("quarantine"), st.integers(0, 3), st.booleans()),
        st.tuples(st.just("next day")),
        st.tuples(st.just("fold")),
        st.tuples(st.just("switch"), st.integers(0, 2)),
    ),
    min_size=1,
    max_size=12,
)
