from __future__ import annotations

import numpy as np
import pytest

from quality.split import Household, SplitName, split_households, thin_out
from testing.films import load_films
from testing.viewings import LIKED, load_viewings
from tests.quality.samples import make_household, make_viewings


@pytest.fixture(scope="module")
def splits() -> dict[SplitName, list[Household]]:
    """Both splits of the real viewings."""
    viewings = load_viewings(load_films())
    return {name: split_households(viewings, name) for name in SplitName}


def test_the_first_four_fifths_are_watched_and_liked_films_of_the_rest_are_wanted() -> None:
    ratings = [5.0, 4.0, 1.0, 4.5, 4.0, 4.0, 3.5, 5.0, 4.0, 5.0, 5.0, 2.0, 5.0, 5.0, 4.0]
    viewings = make_viewings(range(15), ratings)

    (household,) = split_households(viewings, SplitName.TEST)

    assert household.watched.content_rows.tolist() == list(range(12))
    assert household.liked_rows.tolist() == [0, 1, 3, 4, 5, 7, 8, 9, 10]
    assert household.later.content_rows.tolist() == [12, 13, 14]
    assert household.wanted_rows.tolist() == [12, 13, 14]


def test_the_validation_split_divides_what_the_test_split_watches() -> None:
    viewings = make_viewings(range(25), [5.0] * 25)

    (household,) = split_households(viewings, SplitName.VALIDATION)

    assert household.watched.content_rows.tolist() == list(range(16))
    assert household.later.content_rows.tolist() == list(range(16, 20))


@pytest.mark.parametrize(
    ("early", "late"), [([5.0] * 4 + [1.0] * 12, [5.0] * 4), ([5.0] * 16, [5.0, 5.0, 1.0, 1.0])]
)
def test_a_household_that_liked_too_little_is_left_out(
    early: list[float], late: list[float]
) -> None:
    viewings = make_viewings(range(20), early + late)

    assert split_households(viewings, SplitName.TEST) == []


def test_viewings_of_several_households_are_kept_apart() -> None:
    viewings = make_viewings([*range(20), *range(20)], [5.0] * 40, [2, 1] * 20)

    first, second = split_households(viewings, SplitName.TEST)

    assert (first.number, second.number) == (1, 2)
    assert first.watched.content_rows.tolist() == [*range(1, 20, 2), *range(1, 12, 2)]


def test_the_real_splits_have_the_households_that_the_documents_name(
    splits: dict[SplitName, list[Household]],
) -> None:
    assert {name: len(households) for name, households in splits.items()} == {
        SplitName.VALIDATION: 553,
        SplitName.TEST: 583,
    }


@pytest.mark.parametrize("name", list(SplitName))
def test_no_device_sees_what_it_should_find(
    splits: dict[SplitName, list[Household]], name: SplitName
) -> None:
    for household in splits[name]:
        assert not np.isin(household.later.content_rows, household.watched.content_rows).any()
        assert household.watched.timestamps.max() <= household.later.timestamps.min()
        assert np.isin(household.wanted_rows, household.later.content_rows).all()
        assert (household.later.ratings >= LIKED).sum() == len(household.wanted_rows)


def test_choosing_on_the_validation_split_never_sees_what_the_test_split_wants(
    splits: dict[SplitName, list[Household]],
) -> None:
    tested = {each.number: each for each in splits[SplitName.TEST]}
    shared = [each for each in splits[SplitName.VALIDATION] if each.number in tested]
    assert len(shared) > 500
    for household in shared:
        later = tested[household.number].later.content_rows
        assert not np.isin(household.watched.content_rows, later).any()
        assert not np.isin(household.later.content_rows, later).any()


def test_thinning_out_takes_households_at_even_distances() -> None:
    households = [make_household([number], [99]) for number in range(10)]

    assert thin_out(households, 4) == [households[row] for row in (0, 2, 5, 7)]
    with pytest.raises(ValueError, match="count must be from 1 to 10, got 11"):
        thin_out(households, 11)
