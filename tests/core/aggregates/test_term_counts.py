from __future__ import annotations

import numpy as np

from constellation.core.aggregates.term_counts import (
    MAX_CLUSTERS,
    TermCounts,
    pack_pairs,
    pack_terms,
    subtract_keys,
    unpack_clusters,
)
from constellation.core.rows import PATTERN, PatternRows, TermKind

GENRE, CONTENT = TermKind.GENRE, TermKind.CONTENT


def make_rows(*terms: tuple[tuple[int, ...], tuple[int, ...]]) -> PatternRows:
    """Return patterns with these numbers of genres and content items."""
    rows = np.zeros(len(terms), PATTERN)
    for row, (genres, contents) in zip(rows, terms, strict=True):
        row["genres"][: len(genres)] = genres
        row["contents"][: len(contents)] = contents
    return rows


def select(counts: TermCounts, kind: TermKind) -> set[tuple[int, int, int]]:
    """Return (cluster, term number, devices) of a kind."""
    return set(zip(*(column.tolist() for column in counts.select_kind(kind)), strict=True))


def test_the_greatest_numbers_fit_into_a_key() -> None:
    device, cluster = np.array([2**26 - 1]), np.array([MAX_CLUSTERS - 1])
    rows = make_rows(((2**16 - 1,), (2_000_000,)))
    counts = TermCounts()

    pairs = pack_pairs(device, cluster)
    counts.add(pack_terms(pairs, rows), 1)

    assert unpack_clusters(pairs).tolist() == [MAX_CLUSTERS - 1]
    assert select(counts, GENRE) == {(MAX_CLUSTERS - 1, 2**16 - 1, 1)}
    assert select(counts, CONTENT) == {(MAX_CLUSTERS - 1, 2_000_000, 1)}


def test_two_patterns_of_a_device_in_a_cluster_count_it_once() -> None:
    rows = make_rows(((1,), (5,)), ((1, 2), (5, 6)), ((1,), ()))
    pairs = pack_pairs(np.array([7, 7, 8]), np.array([3, 3, 3]))
    counts = TermCounts()

    counts.add(pack_terms(pairs, rows), 1)

    assert select(counts, GENRE) == {(3, 1, 2), (3, 2, 1)}
    assert select(counts, CONTENT) == {(3, 5, 1), (3, 6, 1)}


def test_what_is_taken_away_again_is_not_selected() -> None:
    counts = TermCounts()
    rows = make_rows(*((((n % 50) + 1,), ()) for n in range(3000)))
    keys = pack_terms(pack_pairs(np.arange(3000), np.arange(3000)), rows)
    counts.add(keys, 1)

    counts.add(keys[1:], -1)

    assert select(counts, GENRE) == {(0, 1, 1)}


def test_subtracting_keys_keeps_those_of_the_first_only() -> None:
    keys, others = np.array([1, 3, 5], np.uint64), np.array([0, 3, 9], np.uint64)

    assert subtract_keys(keys, others).tolist() == [1, 5]
    assert subtract_keys(keys, others[:0]).tolist() == [1, 3, 5]
