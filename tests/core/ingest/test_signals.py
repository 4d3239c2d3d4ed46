from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.core.ingest.signals import SignalTally
from constellation.core.rows import DEVICE, TermKind
from constellation.core.table.hourly import HourlyRing
from constellation.federated.terms import MAX_GENRES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.core.store import HourlyCounts

GENRE, CONTENT = TermKind.GENRE, TermKind.CONTENT
HOUR = 500_000
DRAMA, NOIR, WAR = 1, 2, 3

Count = tuple[int, TermKind, int, int]
"""Hour, kind, number, devices."""


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

    def __init__(
        self,
        *genres: tuple[int, ...],
        devices: int = 3,
        max_bytes: int = 1 << 30,
        hourly_limit: int = 4,
    ) -> None:
        self.hourly_limit = hourly_limit
        self.ring = HourlyRing(max_bytes=max_bytes)
        self.genres = make_content_genres(*genres)
        self.devices = np.zeros(devices, DEVICE)

    def commit(self, *signals: tuple[int, int, int]) -> list[bool]:
        """Admit signals of (device, hour, content); say which counted."""
        tally = SignalTally(self.ring, self.genres, HOUR, self.hourly_limit)
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


@pytest.mark.parametrize("limit", [1, 2, 4])
def test_a_device_counts_in_an_hour_as_often_as_it_may(limit: int) -> None:
    shard = SignalRecorder(*[(DRAMA,)] * 6, hourly_limit=limit)

    first = shard.commit(*[(0, HOUR, content) for content in (1, 1, 2, 3, 4, 5)])
    later = shard.commit((0, HOUR, 6), (1, HOUR, 6))

    assert sum(first) == limit
    assert later == [False, True]
    assert sum(shard.ring.count(CONTENT, HOUR, number) for number in range(1, 7)) == limit + 1


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


def test_signals_beyond_the_memory_of_the_ring_are_dropped() -> None:
    recorder = SignalRecorder(*[()] * 5000, max_bytes=3 * 12_288)  # three blocks of 1,024 numbers

    first = recorder.commit((0, HOUR, 1), (0, HOUR, 1024), (1, HOUR, 1025), (1, HOUR, 4000))
    second = recorder.commit((0, HOUR, 2), (2, HOUR - 1, 1), (2, HOUR, 3000))

    assert first == [True, True, True, True]
    assert second == [True, False, False]
    assert recorder.ring.used_blocks == 3


def test_a_full_ring_has_room_again_once_its_hours_are_over() -> None:
    recorder = SignalRecorder(*[()] * 5000, max_bytes=12_288)
    assert recorder.commit((0, HOUR, 1), (1, HOUR, 2000)) == [True, False]

    recorder.ring.close_before(HOUR + 1)

    assert recorder.ring.used_blocks == 0
    assert recorder.commit((0, HOUR, 1)) == [False]  # that hour is closed for good
