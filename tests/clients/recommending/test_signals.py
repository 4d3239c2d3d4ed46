"""A queue of signals is bounded by hour and in all, over the profiles of a device."""

from __future__ import annotations

from constellation_settop.recommending.signals import SignalQueue
from constellation_settop.values import MAX_SIGNALS, SIGNALS_PER_HOUR, Signal

HOUR = 490_000


def fill(queue: SignalQueue, count: int, hour: int = HOUR) -> None:
    for number in range(count):
        queue.record(Signal(f"film:{number}", hour))


def test_an_hour_has_a_bounded_number_of_signals_each_once() -> None:
    queue = SignalQueue()
    queue.record(Signal("film:0", HOUR))

    fill(queue, SIGNALS_PER_HOUR + 3)

    assert queue.take() == [Signal(f"film:{number}", HOUR) for number in range(SIGNALS_PER_HOUR)]
    assert queue.take() == []


def test_profiles_share_the_bound_of_an_hour_and_not_their_signals() -> None:
    first = SignalQueue()
    second = first.make_sibling()
    fill(first, SIGNALS_PER_HOUR - 1)

    fill(second, SIGNALS_PER_HOUR)

    assert len(first.take()) == SIGNALS_PER_HOUR - 1
    assert len(second.take()) == 1


def test_the_oldest_signals_give_way_when_there_are_too_many() -> None:
    queue = SignalQueue()
    for hour in range(MAX_SIGNALS + 2):
        queue.record(Signal("film", hour))

    assert [signal.hour for signal in queue.take()] == list(range(2, MAX_SIGNALS + 2))


def test_signals_are_taken_in_the_order_of_their_hours() -> None:
    queue = SignalQueue()
    for hour in (5, 3, 4):
        queue.record(Signal("film", hour))

    assert [signal.hour for signal in queue.take()] == [3, 4, 5]


def test_signals_that_could_not_be_saved_come_before_newer_ones_and_once() -> None:
    queue = SignalQueue()
    fill(queue, 2)
    taken = queue.take()
    queue.record(Signal("newer", HOUR))

    queue.restore(taken)

    assert [signal.content_id for signal in queue.take()] == ["film:0", "film:1", "newer"]


def test_a_forgotten_content_item_leaves_no_pending_signal() -> None:
    queue = SignalQueue()
    fill(queue, 2)

    queue.remove("film:0")
    assert [signal.content_id for signal in queue.take()] == ["film:1"]

    fill(queue, 1, HOUR + 1)
    queue.clear()
    assert queue.take() == []
