from __future__ import annotations

from hashlib import sha256

import numpy as np
import pytest

from constellation.core.table.catalogue_buckets import (
    MAX_BUCKETS,
    CatalogueEntries,
    choose_bucket_count,
    compute_key,
)


def make_entries(*cells: tuple[int, int]) -> CatalogueEntries:
    """Return entries of (key, digest)."""
    columns = np.array(cells, np.uint64).reshape(-1, 2)
    numbers = np.arange(1, len(columns) + 1, dtype=np.uint32)
    return CatalogueEntries(numbers, [], columns[:, 0].astype(np.uint32), columns[:, 1])


def test_the_key_is_the_first_four_bytes_of_the_sha256() -> None:
    assert compute_key("film:1") == int(sha256(b"film:1").hexdigest()[:8], 16)
    assert compute_key("фильм") == int(sha256("фильм".encode()).hexdigest()[:8], 16)


@pytest.mark.parametrize(
    ("contents", "present", "count"),
    [
        (0, 0, 1),
        (8, 0, 1),
        (9, 0, 2),
        (17_000, 0, 4096),
        (100_000, 0, MAX_BUCKETS),
        (2_000_000, 0, MAX_BUCKETS),
        (64, 1, 1),
        (65, 1, 16),  # outgrown
        (10, 4096, 4096),  # a copy of a catalogue that was larger
        (2_000_000, MAX_BUCKETS, MAX_BUCKETS),
    ],
)
def test_buckets_have_about_eight_items_and_stay_until_they_are_outgrown(
    contents: int, present: int, count: int
) -> None:
    assert choose_bucket_count(contents, present) == count


def test_the_digest_of_a_bucket_is_the_sum_of_its_hashes() -> None:
    entries = make_entries((0, 5), (4, 2**64 - 1), (7, 9))

    assert entries.sum_buckets(4).tolist() == [4, 0, 0, 9]
    assert entries.sum_buckets(1).tolist() == [13]


def test_only_buckets_with_another_digest_are_found_also_those_that_became_empty() -> None:
    entries = make_entries((3, 1), (0, 2), (7, 4), (1, 8), (4, 16))

    found = entries.find_different(np.array([18, 7, 6, 0], np.uint64))

    assert found.buckets.tolist() == [1, 2, 3]
    assert found.ends.tolist() == [1, 1, 3]
    assert found.positions.tolist() == [3, 0, 2]


def test_a_copy_that_has_everything_lacks_nothing() -> None:
    entries = make_entries((3, 1), (0, 2))

    assert len(entries.find_different(entries.sum_buckets(8)).buckets) == 0


@pytest.mark.parametrize("size", [1, 3, 5, 1000])
def test_pages_have_whole_buckets_and_every_bucket_once(size: int) -> None:
    random = np.random.default_rng(size)
    cells = [(int(key), 1) for key in random.integers(0, 64, 100)]
    held = np.zeros(64, np.uint64)
    held[::7] = 2**40  # some of them may be empty now
    different = make_entries(*cells).find_different(held)

    pages = list(different.cut_pages(size))

    assert np.concatenate([buckets for buckets, _ in pages]).tolist() == different.buckets.tolist()
    positions = np.concatenate([each for _, each in pages]).tolist()
    assert positions == different.positions.tolist()
    for buckets, chosen in pages:
        assert {cells[position][0] for position in chosen.tolist()} <= set(buckets.tolist())
        assert len(chosen) <= size or len(buckets) == 1
