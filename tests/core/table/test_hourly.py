from __future__ import annotations

import mmap
import time
from pathlib import Path

import numpy as np

from constellation.core.rows import TermKind
from constellation.core.store import HourlyCounts, no_counts
from constellation.core.table.hourly import RING_HOURS, HourlyRing

GENRE, CONTENT = TermKind.GENRE, TermKind.CONTENT
HOUR = 500_000

Count = tuple[int, TermKind, int, int]
"""Hour, kind, number, devices."""


def make_hourly_counts(*counts: Count) -> HourlyCounts:
    hours, kinds, numbers, devices = np.array(counts, np.uint32).reshape(-1, 4).T
    return HourlyCounts(hours, kinds.astype(np.uint8), numbers, devices)


def to_sorted_counts(counts: HourlyCounts) -> list[Count]:
    columns = (counts.hours, counts.kinds, counts.numbers, counts.devices)
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


def test_a_loaded_ring_is_of_version_0() -> None:
    stored = make_hourly_counts((HOUR, CONTENT, 1, 5), (HOUR - 1, GENRE, 1, 6))

    ring = HourlyRing(stored)

    assert ring.version == 0
    assert (
        to_sorted_counts(ring.changed_since(-1))
        == to_sorted_counts(stored)
        == to_sorted_counts(ring.counts())
    )
    assert to_sorted_counts(ring.changed_since(0)) == []


def test_changed_since_names_what_was_put_later() -> None:
    ring = HourlyRing(make_hourly_counts((HOUR, CONTENT, 1, 5), (HOUR, CONTENT, 2, 5)))

    ring.put(make_hourly_counts((HOUR, CONTENT, 2, 6), (HOUR, GENRE, 2, 6)))
    ring.put(no_counts())
    ring.put(make_hourly_counts((HOUR, GENRE, 2, 7), (HOUR + 1, CONTENT, 1, 1)))

    assert ring.version == 2
    assert to_sorted_counts(ring.changed_since(0)) == [
        (HOUR, GENRE, 2, 7),
        (HOUR, CONTENT, 2, 6),
        (HOUR + 1, CONTENT, 1, 1),
    ]
    assert to_sorted_counts(ring.changed_since(1)) == [
        (HOUR, GENRE, 2, 7),
        (HOUR + 1, CONTENT, 1, 1),
    ]
    assert to_sorted_counts(ring.changed_since(2)) == []
    assert len(to_sorted_counts(ring.changed_since(-1))) == 4


def test_hours_that_left_the_ring_are_not_returned() -> None:
    ring = HourlyRing(make_hourly_counts((HOUR - RING_HOURS + 1, CONTENT, 9, 1)))
    ring.put(make_hourly_counts((HOUR, CONTENT, 1, 1), (HOUR - RING_HOURS, CONTENT, 2, 1)))
    assert [count[2] for count in to_sorted_counts(ring.counts())] == [9, 1]

    ring.put(make_hourly_counts((HOUR + 1, GENRE, 3, 2)))  # takes the row of the oldest
    assert to_sorted_counts(ring.counts()) == [(HOUR, CONTENT, 1, 1), (HOUR + 1, GENRE, 3, 2)]
    assert ring.count(CONTENT, HOUR + 1, 9) == 0

    ring.put(
        make_hourly_counts((HOUR + RING_HOURS, CONTENT, 1, 1))
    )  # the rows in between are still there
    assert to_sorted_counts(ring.changed_since(-1)) == [
        (HOUR + 1, GENRE, 3, 2),
        (HOUR + RING_HOURS, CONTENT, 1, 1),
    ]


def test_a_window_is_of_one_kind_and_ends_now() -> None:
    ring = HourlyRing(
        make_hourly_counts((HOUR, GENRE, 2, 3), (HOUR - 2, GENRE, 2, 4), (HOUR, CONTENT, 5, 6))
    )

    numbers, counts = ring.window(GENRE, HOUR, 2)

    assert numbers.tolist() == [2]
    assert counts.shape == (RING_HOURS, 1)
    assert counts[-3:, 0].tolist() == [4, 0, 3]
    assert counts.sum() == 7
    assert ring.window(CONTENT, HOUR, 5)[0].tolist() == [5]


def test_the_highest_numbers_have_room() -> None:
    ring = HourlyRing(
        make_hourly_counts((HOUR, GENRE, 2**16 - 1, 1), (HOUR, CONTENT, 2_000_000, 2))
    )

    assert ring.count(GENRE, HOUR, 2**16 - 1) == 1
    assert to_sorted_counts(ring.counts()) == [
        (HOUR, GENRE, 2**16 - 1, 1),
        (HOUR, CONTENT, 2_000_000, 2),
    ]


def test_everything_of_a_full_week_is_found_quickly() -> None:
    contents = 20_000
    hours = np.repeat(np.arange(HOUR - RING_HOURS + 1, HOUR + 1, dtype=np.uint32), contents)
    numbers = np.tile(np.arange(1, contents + 1, dtype=np.uint32), RING_HOURS)
    kinds = np.full(len(hours), CONTENT, np.uint8)
    ring = HourlyRing(HourlyCounts(hours, kinds, numbers, np.ones(len(hours), np.uint32)))

    began = time.perf_counter()
    found = ring.changed_since(-1)

    assert len(found.hours) == RING_HOURS * contents
    assert time.perf_counter() - began < 2  # 0.15 when nothing else runs


def test_an_hour_that_leaves_the_ring_gives_its_memory_back() -> None:
    ring = HourlyRing()
    numbers = range(1, 2_000_000, 1024)
    for hour in range(HOUR, HOUR + 5):
        ring.put(make_hourly_counts(*((hour, CONTENT, number, 1) for number in numbers)))
    used_blocks, used_bytes = ring.used_blocks, read_resident_bytes()

    for hour in range(HOUR + RING_HOURS, HOUR + RING_HOURS + 5):
        ring.put(make_hourly_counts((hour, CONTENT, 1, 1)))

    assert used_blocks == 5 * 1954
    assert ring.used_blocks == 5
    assert (
        used_bytes - read_resident_bytes() > 0.9 * (used_blocks - 5) * 8192
    )  # two pages of a block
    assert ring.count(CONTENT, HOUR + RING_HOURS, 1025) == 0


def read_resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * mmap.PAGESIZE
