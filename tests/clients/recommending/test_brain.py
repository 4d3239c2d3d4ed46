from __future__ import annotations

from time import perf_counter

import numpy as np
import pytest

from constellation_settop import (
    Brain,
    Catalogue,
    Feedback,
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
    make_related,
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


def test_a_history_is_kept_beside_the_patterns_and_goes_on() -> None:
    first = Brain(make_catalogue())
    first.observe(make_liked_view("0-0", HOUR))
    first.observe(make_disliked_view("0-1", 2 * HOUR))
    first.observe(make_liked_view("0-2", 3 * HOUR))
    first.observe(make_disliked_view("0-2", 4 * HOUR))
    changes = first.take_changes()

    second = Brain(make_catalogue(), history=changes.history)
    second.observe(make_liked_view("0-1", 5 * HOUR))

    opinions = [(each.content_id, each.opinion) for each in second.history.entries]
    assert opinions == [("0-0", 59), ("0-2", -16), ("0-1", 59)]
    assert changes.withdrawn_ids == ["0-2"]
    assert [signal.content_id for signal in changes.signals] == ["0-0"]
    assert [each.content_id for each in second.take_changes().history] == ["0-1"]


def test_a_view_without_engagement_teaches() -> None:
    brain = Brain(make_catalogue())

    assert brain.observe(View("0-0", 0.9)) == 0.9

    assert len(brain.patterns) == 1
    assert brain.take_changes().signals


def test_duplicate_views_are_one_entry_and_one_signal() -> None:
    brain = Brain(make_catalogue())
    for _ in range(3):
        brain.observe(make_liked_view("0-0", HOUR))

    changes = brain.take_changes()

    assert (len(changes.history), len(changes.signals), len(changes.watched_ids)) == (1, 1, 1)


def test_views_far_in_the_past_or_the_future_keep_their_order() -> None:
    """A clock that starts in 1970 or jumps must not turn the history around."""
    brain = Brain(make_catalogue())
    for number, at in enumerate((1.7e9, 0, 4.2e9, 1.7e9)):
        brain.observe(make_liked_view(f"0-{number}", at))

    assert [each.content_id for each in brain.history.entries] == ["0-0", "0-1", "0-2", "0-3"]


def test_ten_thousand_views_in_a_second_stay_within_every_bound() -> None:
    contents = make_catalogue(10, 100)
    brain = Brain(contents)
    for number in range(10_000):
        brain.observe(make_liked_view(contents.content_ids[number % 1000], HOUR))

    changes = brain.take_changes()

    assert len(changes.signals) == 4
    assert len(changes.history) == len(brain.history) == 1000
    assert len(brain.patterns) <= 64


def test_feedback_changes_the_taste_or_hides() -> None:
    brain = Brain(make_catalogue())
    brain.feedback("0-0", Feedback.LIKED)
    brain.feedback("1-0", Feedback.DISLIKED)
    brain.feedback("2-0", Feedback.HIDDEN)

    choices = [choice.content_id for choice in brain.recommend(EVENING, 40)]

    assert [(each.content_id, each.opinion) for each in brain.history.entries] == [
        ("0-0", 64), ("1-0", -64)
    ]  # fmt: skip
    assert choices[0].startswith("0-")
    assert not {"1-0", "2-0"} & set(choices)
    changes = brain.take_changes()
    assert list(changes.watched_ids) == ["1-0", "2-0"]
    assert not changes.signals  # nothing was watched
    with pytest.raises(InvalidArgumentError, match=r"Feedback\.LIKED, DISLIKED or HIDDEN, got 'l"):
        brain.feedback("0-0", "liked")  # type: ignore[arg-type]  # on purpose


def test_what_is_forgotten_was_never_watched() -> None:
    contents = make_catalogue()
    brain, never = Brain(contents), Brain(contents)
    for number in range(6):
        brain.observe(make_liked_view(f"{number % 2}-{number}", HOUR))
        if number != 3:
            never.observe(make_liked_view(f"{number % 2}-{number}", HOUR))

    brain.forget("1-3")

    assert {each.content_ids for each in brain.patterns} == {
        each.content_ids for each in never.patterns
    }
    for one, other in zip(brain.patterns, never.patterns, strict=True):
        assert (one.embedding == other.embedding).all()
    assert [signal.content_id for signal in brain.take_changes().signals] == [
        "0-0", "1-1", "0-2"
    ]  # fmt: skip
    assert "1-3" in {choice.content_id for choice in brain.recommend(EVENING, 40)}


def test_a_brain_that_forgot_everything_is_like_a_new_one() -> None:
    brain = Brain(make_catalogue(), watched_ids=["3-3"])
    brain.observe(make_liked_view("0-0"))

    brain.forget_everything()

    assert not brain.patterns
    assert not brain.history.entries
    assert not brain.take_changes()
    assert len(brain.recommend(EVENING, 40)) == 40


def test_exclude_and_genres_narrow_one_answer() -> None:
    brain = Brain(make_catalogue())

    choices = brain.recommend(EVENING, 40, exclude=["1-1"], genres=["genre-1"])

    assert {choice.content_id for choice in choices} == {
        f"1-{number}" for number in range(10) if number != 1
    }
    assert brain.recommend(EVENING, 1, explain=False)[0].reason == ""
    for name in ("exclude", "genres"):
        with pytest.raises(InvalidArgumentError, match=rf"{name} must be a coll.*\['Drama'\]"):
            brain.recommend(EVENING, **{name: "Drama"})  # type: ignore[arg-type]  # on purpose


def test_unknown_content_is_counted_and_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    brain = Brain(make_catalogue())
    for content_id in ("elsewhere", "nowhere", "elsewhere"):
        brain.observe(make_liked_view(content_id))
    brain.feedback("nowhere", Feedback.LIKED)

    assert brain.unknown_content_count == 4
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "the catalogue lacks 'elsewhere'"
    ]
    assert not brain.history.entries


def test_a_catalogue_that_loses_and_gains_content_changes_only_the_choices() -> None:
    brain = Brain(make_catalogue())
    related = make_related("0-0", {"0-5": 50, "4-1": 100})
    brain.use_global_state(lambda: GlobalState(related=related))
    brain.observe(make_liked_view("0-0"))
    brain.observe(make_liked_view("0-1"))
    assert brain.recommend(EVENING, 1)[0].content_id == "0-5"

    larger = make_catalogue(5)
    rows = [row for row in range(len(larger)) if larger.content_ids[row] != "0-0"]
    brain.use_catalogue(
        Catalogue([larger.content_ids[row] for row in rows], larger.embeddings[rows])
    )

    first, *others = brain.recommend(EVENING, 49)
    assert first.content_id == "4-1"
    assert first.reason == "Households that liked what you liked, liked this as well"
    assert not {"0-0", "0-1"} & {choice.content_id for choice in others}
    assert len(others) == 47
    brain.forget("0-1")
    assert [each.content_id for each in brain.history.entries] == ["0-0"]


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
