from __future__ import annotations

from dataclasses import replace

import pytest

from federation.related.popular import LIST_LENGTH, MAX_REGIONS, make_lists, round_down


def test_there_is_a_list_for_all_regions_and_one_for_each() -> None:
    lists = make_lists({"a": 30, "b": 20}, {"south": {"b": 20}, "north": {"a": 30}})

    assert [(each.region, each.content_ids, each.households) for each in lists] == [
        ("", ("a", "b"), (30, 20)),
        ("north", ("a",), (30,)),
        ("south", ("b",), (20,)),
    ]


def test_a_region_in_which_nothing_is_popular_has_no_list() -> None:
    assert [each.region for each in make_lists({"a": 30}, {"north": {}})] == [""]
    assert make_lists({}, {}) == []


def test_equal_counts_are_ordered_by_content_id() -> None:
    (everywhere,) = make_lists({"b": 1239, "c": 1201, "a": 1250, "d": 1300}, {})

    assert everywhere.content_ids == ("d", "a", "b", "c")
    assert everywhere.households == (1300, 1200, 1200, 1200)


def test_a_list_keeps_its_id_while_counts_change_a_little() -> None:
    (before,) = make_lists({"a": 1201, "b": 990}, {})
    (after,) = make_lists({"a": 1290, "b": 992}, {})
    (changed,) = make_lists({"a": 1300, "b": 992}, {})

    assert before.make_id() == after.make_id() != changed.make_id()
    assert replace(before, region="north").make_id() != before.make_id()
    assert len(before.make_id()) == 16


def test_a_number_stays_as_published_until_enough_households_changed_it() -> None:
    published = make_lists({"a": 30, "b": 29}, {"north": {"a": 30}})

    (same, north) = make_lists({"a": 26, "b": 33, "c": 31}, {"north": {"a": 34}}, published, 5)
    (changed,) = make_lists({"a": 25, "b": 29}, {}, published, 5)

    assert dict(zip(same.content_ids, same.households, strict=True)) == {"c": 31, "a": 30, "b": 29}
    assert north.households == (30,)
    assert dict(zip(changed.content_ids, changed.households, strict=True)) == {"b": 29, "a": 25}


def test_what_too_few_households_like_goes_at_once() -> None:
    published = make_lists({"a": 3000, "b": 29}, {})

    (left,) = make_lists({"a": 3000}, {}, published, 5)

    assert left.content_ids == ("a",)


def test_a_list_that_hardly_changed_stays_as_it_was_published() -> None:
    counts = {f"film:{number:02}": 100 - number for number in range(40)}
    published = make_lists(counts, {"north": counts})
    total = sum(published[0].households)

    few = make_lists({**counts, "film:39": 99}, {"north": counts}, published, 2)
    unhidden = make_lists({**counts, "film:39": 99}, {"north": counts}, published, 1)
    (many, north) = make_lists({**counts, "new": total // 10}, {"north": counts}, published, 2)

    assert few == published
    assert unhidden[0].to_counts()["film:39"] == 99
    assert many.content_ids[:3] == ("new", "film:00", "film:01")
    assert north == published[1]


def test_small_changes_of_many_rounds_add_up_to_a_new_list() -> None:
    published = make_lists({"a": 100, "b": 60}, {})
    seen = []
    for number in range(61, 70):
        published = make_lists({"a": 100, "b": number}, {}, published, 2)
        seen.append(published[0].households[1])

    assert seen == [60] * 8 + [69]


def test_lists_and_regions_are_bounded() -> None:
    many = {f"film:{number}": 60 for number in range(LIST_LENGTH + 1)}
    lists = make_lists(many, {f"region:{number}": many for number in range(MAX_REGIONS + 1)})

    assert len(lists) == 1 + MAX_REGIONS
    assert {len(each.content_ids) for each in lists} == {LIST_LENGTH}


@pytest.mark.parametrize(
    ("count", "rounded"), [(7, 7), (57, 57), (199, 190), (1000, 1000), (98_765, 98_000)]
)
def test_counts_are_rounded_down_to_two_digits(count: int, rounded: int) -> None:
    assert round_down(count) == rounded
