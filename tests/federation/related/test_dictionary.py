from __future__ import annotations

from federation.related.dictionary import NO_DICTIONARY, Dictionary, revise_dictionary

HUNDRED = {f"film:{number:03}": 1000 - number for number in range(100)}
KNOWN = Dictionary(4, tuple(HUNDRED))


def test_the_first_dictionary_has_the_contents_with_the_most_households() -> None:
    households = {"b": 5, "a": 5, "c": 9, "d": 4}

    assert revise_dictionary(NO_DICTIONARY, households, 3) == Dictionary(1, ["c", "a", "b"])


def test_there_is_no_dictionary_of_nothing() -> None:
    assert revise_dictionary(NO_DICTIONARY, {}, 3).version == 0


def test_small_changes_of_households_change_nothing() -> None:
    households = {**HUNDRED, "new": 902}  # more than the weakest, but not clearly

    assert revise_dictionary(KNOWN, households, 100) is KNOWN


def test_a_newcomer_with_clearly_more_households_than_most_takes_the_place_of_the_weakest() -> None:
    revised = revise_dictionary(KNOWN, {**HUNDRED, "hit": 2000}, 100)

    assert revised.version == 5
    assert list(revised.content_ids) == [*list(HUNDRED)[:99], "hit"]


def test_a_clear_newcomer_that_is_no_hit_waits_until_more_than_a_few_would_change() -> None:
    weak = {each: 100 if number >= 90 else 900 for number, each in enumerate(HUNDRED)}

    def add(count: int) -> Dictionary:
        return revise_dictionary(KNOWN, {**weak, **{f"new:{n}": 200 for n in range(count)}}, 100)

    assert add(5) is KNOWN
    assert add(6).version == 5
    assert len(set(add(6).content_ids) - set(HUNDRED)) == 6


def test_what_stays_keeps_its_position() -> None:
    fewer = {each: HUNDRED[each] for number, each in enumerate(HUNDRED) if number % 10}
    newcomers = {f"new:{number}": 10 for number in range(10)}

    revised = revise_dictionary(KNOWN, {**fewer, **newcomers}, 100)

    assert [each for each in revised.content_ids if each in fewer] == list(fewer)
    assert all(revised.content_ids.index(each) == KNOWN.content_ids.index(each) for each in fewer)
    assert revised.content_ids[0] == "new:0"


def test_a_content_item_that_too_few_households_like_leaves_with_the_next_change() -> None:
    few = dict(list(HUNDRED.items())[:94])

    assert revise_dictionary(KNOWN, few, 100).content_ids == list(few)


def test_free_places_are_taken_only_when_that_is_worth_a_change() -> None:
    assert revise_dictionary(KNOWN, {**HUNDRED, "new": 60}, 5000) is KNOWN
    many = {f"new:{number}": 60 for number in range(6)}
    assert len(revise_dictionary(KNOWN, {**HUNDRED, **many}, 5000).content_ids) == 106


def test_a_lower_limit_holds_at_once() -> None:
    assert list(revise_dictionary(KNOWN, HUNDRED, 40).content_ids) == list(HUNDRED)[:40]
