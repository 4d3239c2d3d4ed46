from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from constellation.core.ingest.signals import SignalTally
from constellation.core.rows import DEVICE, TermKind
from constellation.core.store import HourlyCounts, no_counts
from constellation.core.table.hourly import RING_HOURS, HourlyRing
from constellation.federated.terms import MAX_GENRES

if TYPE_CHECKING:
    from numpy.typing import NDArray

GENRE, CONTENT = TermKind.GENRE, TermKind.CONTENT
HOUR = 500_000
DRAMA, NOIR, WAR = 1, 2, 3

Count = tuple[int, TermKind, int, int]
"""Hour, kind, number, devices."""


def make_hourly_counts(*counts: Count) -> HourlyCounts:
    hours, kinds, numbers, devices = np.array(counts, np.uint32).reshape(-1, 4).T
    return HourlyCounts(hours, kinds.astype(np.uint8), numbers, devices)


def to_sorted_counts(counts: HourlyCounts) -> list[Count]:
    columns = (counts.hours, counts.kinds, counts.numbers, counts.devices)
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


def make_content_genres(*genres: tuple[int, ...]) -> NDArray[np.uint16]:
    """Return the genres of contents 1, 2 and so on, by content number."""
    found = np.zeros((len(genres) + 1, MAX_GENRES), np.uint16)
    for content, numbers in enumerate(genres, 1):
        found[content, : len(numbers)] = numbers
    return found


class SignalRecorder:
    """Devices that signal, commit by commit."""

    def __init__(self, *genres: tuple[int, ...], devices: int = 3) -> None:
        self.ring = HourlyRing()
        self.genres = make_content_genres(*genres)
        self.devices = np.zeros(devices, DEVICE)

    def commit(self, *signals: tuple[int, int, int]) -> list[bool]:
        """Admit signals of (device, hour, content); say which counted."""
        tally = SignalTally(self.ring, self.genres, HOUR)
        counted = [
            tally.has_room(self.devices[device], hour)
            and tally.add_signal(self.devices[device], hour, content)
            for device, hour, content in signals
        ]
        self.ring.put(tally.counts())
        return counted

    def count_genre(self, number: int, hour: int = HOUR) -> int:
        return self.ring.count(GENRE, hour, number)


def test_two_contents_of_one_genre_in_one_hour_count_the_device_once() -> None:
    shard = SignalRecorder((DRAMA, NOIR), (WAR, DRAMA))

    counted = shard.commit((0, HOUR, 1), (0, HOUR, 2), (1, HOUR, 2))

    assert counted == [True, True, True]
    assert [shard.count_genre(number) for number in (DRAMA, NOIR, WAR)] == [2, 1, 2]
    assert [shard.ring.count(CONTENT, HOUR, number) for number in (1, 2)] == [1, 2]


def test_a_genre_counts_once_also_over_several_commits() -> None:
    shard = SignalRecorder((DRAMA,), (DRAMA,), (DRAMA, NOIR), (), (DRAMA,))

    for content in (1, 2, 1, 4, 3, 5):
        shard.commit((0, HOUR, content))

    assert [shard.count_genre(number) for number in (DRAMA, NOIR)] == [1, 1]
    assert shard.ring.count(CONTENT, HOUR, 5) == 0  # the fifth content of an hour does not count


def test_the_next_hour_counts_again() -> None:
    shard = SignalRecorder((DRAMA,), (DRAMA,))

    shard.commit((0, HOUR - 1, 1), (0, HOUR, 2))

    assert [shard.count_genre(DRAMA, hour) for hour in (HOUR - 1, HOUR)] == [1, 1]


def test_a_signal_that_does_not_count_counts_for_no_genre() -> None:
    shard = SignalRecorder((DRAMA,), (DRAMA,))

    counted = shard.commit((0, HOUR, 1), (0, HOUR, 1), (0, HOUR - 1, 2), (1, HOUR, 0))

    assert counted == [True, False, False, False]
    assert to_sorted_counts(shard.ring.counts()) == [(HOUR, GENRE, DRAMA, 1), (HOUR, CONTENT, 1, 1)]


@given(
    signals=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 6)), max_size=20),
    genres=st.lists(
        st.lists(st.integers(1, 4), max_size=4, unique=True).map(tuple), min_size=6, max_size=6
    ),
)
def test_genres_count_distinct_devices(
    signals: list[tuple[int, int]], genres: list[tuple[int, ...]]
) -> None:
    shard = SignalRecorder(*genres)

    counted = [
        (device, content)
        for device, content in signals
        if shard.commit((device, HOUR, content)) == [True]
    ]

    for genre in range(1, 5):
        watchers = {device for device, content in counted if genre in genres[content - 1]}
        assert shard.count_genre(genre) == len(watchers)


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
