from __future__ import annotations

from time import perf_counter

import numpy as np
import pytest

from constellation_settop import (
    Brain,
    Catalogue,
    InvalidArgumentError,
    TimeOfDay,
    View,
)
from constellation_settop.values import GlobalState
from tests.clients.samples import (
    EVENING,
    make_catalogue,
    make_disliked_view,
    make_liked_view,
    make_similar,
    make_unit_rows,
)

HOUR = 3600


def test_a_brain_goes_on_from_what_was_kept() -> None:
    first = Brain(make_catalogue())
    for number in range(4):
        first.observe(make_liked_view(f"0-{number}"))
    kept = first.take_changes()

    second = Brain(make_catalogue(), kept.learned_patterns, kept.watched_ids)
    second.observe(make_liked_view("0-4"))
    second.observe(make_disliked_view("0-5"))

    (pattern,) = second.patterns
    assert pattern.sample_count == 6
    assert pattern.success_rate == pytest.approx(5 / 6)
    assert pattern.time_of_day is TimeOfDay.EVENING


def test_at_most_four_signals_leave_an_hour_each_content_once_in_order() -> None:
    brain = Brain(make_catalogue())
    for hour in (1, 0):
        for number in range(8):
            brain.observe(make_liked_view(f"0-{number}", hour * HOUR))
            brain.observe(make_liked_view(f"0-{number}", hour * HOUR + 1))
    brain.observe(make_disliked_view("1-0", 5 * HOUR))

    signals = brain.take_changes().signals

    assert [signal.hour for signal in signals] == [0] * 4 + [1] * 4
    assert len({(signal.hour, signal.content_id) for signal in signals}) == 8


def test_changes_put_back_are_taken_again() -> None:
    brain = Brain(make_catalogue())
    brain.observe(make_liked_view("0-0"))
    changes = brain.take_changes()
    assert not brain.take_changes()

    brain.restore_changes(changes)

    again = brain.take_changes()
    assert list(again.signals) == list(changes.signals)
    assert [each.pattern.pattern_id for each in again.learned_patterns] == [
        each.pattern.pattern_id for each in changes.learned_patterns
    ]


def test_recommendations_are_near_what_was_liked_and_never_seen_before() -> None:
    brain = Brain(make_catalogue())
    for number in range(5):
        brain.observe(make_liked_view(f"2-{number}"))

    choices = brain.recommend(EVENING, limit=5)

    assert [choice.content_id[0] for choice in choices] == ["2"] * 5
    assert {choice.content_id for choice in choices} == {f"2-{number}" for number in range(5, 10)}
    assert choices[0].reason == "Because you watched Film 2-4"


def test_a_brain_that_knows_nothing_still_answers() -> None:
    assert len(Brain(make_catalogue()).recommend(EVENING, 7)) == 7
    assert len(Brain(make_catalogue()).recommend(EVENING, 1000)) == 40


def test_everything_watched_leaves_nothing_to_recommend() -> None:
    contents = make_catalogue(1, 3)
    brain = Brain(contents, watched_ids=contents.content_ids)

    assert brain.recommend(EVENING) == []


def test_wrong_arguments_are_named() -> None:
    brain = Brain(make_catalogue())

    with pytest.raises(InvalidArgumentError, match="watch_percentage"):
        brain.observe(View("0-0", 1.5))
    for at in (-1, 1.7e12, float("nan")):
        with pytest.raises(InvalidArgumentError, match="watched_at must be"):
            brain.observe(View("0-0", 1.0, 1.0, at))
    with pytest.raises(InvalidArgumentError, match="limit"):
        brain.recommend(EVENING, 0)


def test_unknown_content_is_remembered_as_watched_and_teaches_nothing() -> None:
    brain = Brain(make_catalogue())

    brain.observe(make_liked_view("elsewhere"))

    assert not brain.patterns
    assert list(brain.take_changes().watched_ids) == ["elsewhere"]


def test_recommending_from_ten_thousand_contents_takes_less_than_15_ms() -> None:
    contents = Catalogue([str(row) for row in range(10_000)], make_unit_rows(10_000))
    brain = Brain(contents)
    for row in range(200):
        brain.observe(make_liked_view(str(row)))
    similar = {
        bytes([number] * 16): make_similar(number, (str(300 + number), str(500 + number)), contents)
        for number in range(100)
    }
    brain.use_global_state(lambda: GlobalState(similar=similar))
    brain.recommend(EVENING)

    times = []
    for row in range(60):
        brain.observe(make_liked_view(str(1000 + row)))
        start = perf_counter()
        brain.recommend(EVENING)
        times.append(perf_counter() - start)

    assert float(np.quantile(times, 0.25)) < 0.015  # the machine may be busy with other things
