from __future__ import annotations

import pytest

from constellation_settop import Brain, InvalidArgumentError, LearningSettings, View
from constellation_settop.recommending.household import MAX_PROFILES, Household
from constellation_settop.values import GlobalState
from tests.clients.samples import (
    EVENING,
    make_catalogue,
    make_disliked_view,
    make_liked_view,
    make_related,
)


def make_household(*names: str, max_patterns: int = 64, themes: int = 4) -> Household:
    settings = LearningSettings(max_patterns=max_patterns)
    household = Household(Brain(make_catalogue(themes), settings=settings), max_patterns)
    for name in names:
        household.add(name, lambda default: default.make_sibling())
    return household


def count_patterns(household: Household) -> dict[str, int]:
    return {name: brain.pattern_count for name, brain in household.brains.items()}


def test_each_profile_has_a_taste_a_history_and_watched_content_of_its_own() -> None:
    household = make_household("kids")
    kids = household.find("kids")

    household.default.observe(make_liked_view("0-1"))
    kids.observe(make_liked_view("2-1"))

    assert household.default.recommend(EVENING, 1)[0].content_id.startswith("0-")
    assert kids.recommend(EVENING, 1)[0].content_id.startswith("2-")
    assert "0-1" in {each.content_id for each in kids.recommend(EVENING, 40)}
    assert [each.content_id for each in kids.history.entries] == ["2-1"]


def test_profiles_share_the_global_state_and_the_catalogue() -> None:
    household = make_household("kids")
    related = make_related("2-1", {"3-7": 100})
    household.use_global_state(lambda: GlobalState(related=related))

    household.find("kids").observe(make_liked_view("2-1"))
    choices = household.find("kids").recommend(EVENING, 40)
    household.use_catalogue(make_catalogue(themes=1))

    assert "3-7" in [each.content_id for each in choices[:2]]
    assert {each.content_id[0] for each in household.find("kids").recommend(EVENING)} == {"0"}


def test_the_profile_with_the_most_patterns_gives_way() -> None:
    household = make_household("kids", max_patterns=6, themes=8)
    for theme in range(6):
        household.default.observe(make_liked_view(f"{theme}-1"))
    household.bound_patterns()
    assert count_patterns(household) == {"": 6, "kids": 0}

    for theme in range(8):
        household.find("kids").observe(make_liked_view(f"{theme}-2"))
        household.bound_patterns()
        assert sum(count_patterns(household).values()) == 6

    assert count_patterns(household) == {"": 3, "kids": 3}


def test_the_changes_name_their_profile_and_come_back_when_they_could_not_be_saved() -> None:
    household = make_household("kids")
    household.default.observe(make_liked_view("0-1"))
    household.find("kids").observe(make_liked_view("2-1"))

    changes = household.take_changes()
    assert not household.take_changes()
    household.restore_changes(changes)
    again = household.take_changes()

    assert [each.profile for each in changes] == ["", "kids"]
    for before, after in zip(changes, again, strict=True):
        assert (before.profile, list(before.watched_ids)) == (
            after.profile, list(after.watched_ids)
        )  # fmt: skip
        assert list(before.history) == list(after.history)


def test_the_signals_of_an_hour_are_bounded_for_all_profiles_together() -> None:
    household = make_household("kids")
    for number in range(3):
        household.default.observe(View(f"0-{number}", 1.0, watched_at=7200))
        household.find("kids").observe(View(f"2-{number}", 1.0, watched_at=7200))

    changes = household.take_changes()

    assert [len(each.signals) for each in changes] == [2, 2]


def test_what_another_profile_likes_is_not_withdrawn() -> None:
    household = make_household("kids")
    for name in ("", "kids"):
        household.find(name).observe(make_liked_view("0-1"))
    household.take_changes()

    household.default.observe(make_disliked_view("0-1"))
    (first,) = household.take_changes()
    household.find("kids").observe(make_disliked_view("0-1"))
    (second,) = household.take_changes()

    assert not first.withdrawn_ids
    assert list(second.withdrawn_ids) == ["0-1"]


def test_profiles_are_bounded_and_named() -> None:
    household = make_household(*(f"member {number}" for number in range(MAX_PROFILES - 1)))

    with pytest.raises(InvalidArgumentError, match="may have 8 profiles, and has 8"):
        household.add("one more", lambda default: default.make_sibling())
    with pytest.raises(InvalidArgumentError, match="may have 64 characters, got 65"):
        make_household("a" * 65)
    with pytest.raises(InvalidArgumentError, match="there is no profile 'kids'"):
        household.find("kids")
