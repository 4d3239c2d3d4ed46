from __future__ import annotations

import pytest

from constellation_settop import (
    Brain,
    Catalogue,
    ContentType,
    Context,
    DayType,
    LearnedPattern,
    LearningSettings,
    TimeOfDay,
    View,
)
from constellation_settop.recommending.learning import (
    MAX_CONTENT_IDS,
    MAX_GENRES,
    Learner,
    Observation,
)
from tests.clients.samples import (
    EVENING,
    make_catalogue,
    make_disliked_view,
    make_liked_view,
    make_pattern,
    make_unit_rows,
)


def make_observation(
    content_id: str, seed: int = 1, genres: tuple[str, ...] = (), watched_at: int = 100
) -> Observation:
    """Return a view of a content item; items of one seed have the same embedding."""
    embedding = make_unit_rows(1, seed)[0]
    return Observation(content_id, embedding, EVENING, ContentType.MOVIE, genres, watched_at)


def test_the_reward_weighs_watching_more_than_engagement() -> None:
    brain = Brain(make_catalogue())

    assert brain.observe(View("0-0", 1.0, 0.0, 0)) == pytest.approx(0.7)
    assert brain.observe(View("0-1", 0.0, 1.0, 0)) == pytest.approx(0.3)


def test_views_of_one_kind_become_one_pattern_and_other_kinds_others() -> None:
    brain = Brain(make_catalogue())

    for number in range(5):
        brain.observe(make_liked_view(f"0-{number}"))
        brain.observe(make_liked_view(f"1-{number}"))

    assert sorted(each.sample_count for each in brain.patterns) == [5, 5]
    first = brain.patterns[0]
    assert first.content_ids == tuple(f"0-{number}" for number in range(5))
    assert first.genres == ("genre-0",)
    assert (first.time_of_day, first.day_type) == (TimeOfDay.EVENING, DayType.WEEKDAY)


def test_the_context_of_a_pattern_is_that_of_most_views() -> None:
    brain = Brain(make_catalogue())
    night = Context(TimeOfDay.NIGHT, DayType.WEEKEND)

    brain.observe(make_liked_view("0-0"))
    brain.observe(make_liked_view("0-1", context=night))
    brain.observe(make_liked_view("0-2", context=night))

    assert brain.patterns[0].time_of_day is TimeOfDay.NIGHT


def test_views_that_failed_lower_the_rate_of_the_nearest_pattern_only() -> None:
    brain = Brain(make_catalogue())
    brain.observe(make_liked_view("0-0"))
    brain.observe(make_liked_view("1-0"))

    brain.observe(make_disliked_view("0-1"))
    brain.observe(make_disliked_view("3-0"))

    assert [each.success_rate for each in brain.patterns] == [0.5, 1.0]


def test_patterns_are_bounded_and_what_merges_is_forgotten_by_name() -> None:
    everything = Catalogue([str(row) for row in range(200)], make_unit_rows(200))
    brain = Brain(everything, settings=LearningSettings(max_patterns=10))
    for row in range(10):
        brain.observe(make_liked_view(str(row)))
    brain.take_changes()

    for row in range(10, 200):
        brain.observe(make_liked_view(str(row)))
        assert len(brain.patterns) <= 10

    changes = brain.take_changes()
    assert sum(each.sample_count for each in brain.patterns) == 200
    live = {each.pattern_id for each in brain.patterns}
    assert live.isdisjoint(changes.forgotten_ids)
    assert {each.pattern.pattern_id for each in changes.learned_patterns} <= live


def test_a_pattern_names_its_newest_content_and_most_frequent_genres() -> None:
    learner = Learner([], LearningSettings())

    for number in range(MAX_CONTENT_IDS + 4):
        genres = (f"genre-{number % 12}", "in every film")
        learner.learn(make_observation(f"film-{number}", genres=genres), is_success=True)

    (pattern,) = learner.patterns()
    assert pattern.content_ids == tuple(f"film-{n}" for n in range(4, MAX_CONTENT_IDS + 4))
    assert len(pattern.genres) == MAX_GENRES
    assert pattern.genres[0] == "in every film"


def test_content_watched_again_becomes_the_newest() -> None:
    learner = Learner([], LearningSettings())

    for content_id in ("a", "b", "a"):
        learner.learn(make_observation(content_id), is_success=True)

    assert learner.patterns()[0].content_ids == ("b", "a")


def test_an_older_view_does_not_set_the_time_of_a_pattern_back() -> None:
    learner = Learner([], LearningSettings())

    learner.learn(make_observation("a", watched_at=200), is_success=True)
    learner.learn(make_observation("b", watched_at=100), is_success=True)

    assert learner.patterns()[0].updated_at == 200


def test_a_failure_far_from_every_pattern_teaches_nothing() -> None:
    learner = Learner([], LearningSettings())
    learner.learn(make_observation("a", seed=1), is_success=True)
    learner.take_changes()

    learner.learn(make_observation("b", seed=2), is_success=False)

    assert learner.take_changes() == ([], [])


def test_the_learner_state_makes_a_restart_invisible() -> None:
    original = Learner([], LearningSettings())
    for number in range(3):
        original.learn(make_observation(f"film-{number}"), is_success=True)
    saved, _ = original.take_changes()
    continued = Learner(saved, LearningSettings())

    for learner in (original, continued):
        learner.learn(make_observation("film-3", seed=1), is_success=True)

    (expected,), (pattern,) = original.patterns(), continued.patterns()
    assert pattern.embedding.tobytes() == expected.embedding.tobytes()
    assert pattern.sample_count == expected.sample_count == 4
    assert pattern.time_of_day is expected.time_of_day is TimeOfDay.EVENING


def test_a_pattern_without_learner_state_is_continued_from_its_values() -> None:
    learner = Learner([LearnedPattern(make_pattern(1, 0.5, 4))], LearningSettings())

    learner.learn(make_observation("a", seed=1), is_success=True)

    (pattern,) = learner.patterns()
    assert pattern.success_rate == pytest.approx(3 / 5)
    assert pattern.pattern_id == make_pattern(1).pattern_id


def test_more_patterns_than_the_settings_allow_are_not_loaded() -> None:
    learned = [LearnedPattern(make_pattern(number)) for number in range(1, 6)]

    learner = Learner(learned, LearningSettings(max_patterns=3))

    assert len(learner) == 3
