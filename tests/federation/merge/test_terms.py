from __future__ import annotations

import numpy as np
import pytest

from federation.merge.terms import TermDictionary, Terms, decode_genres, encode_genres
from tests.federation.aggregates import make_cluster_rows, make_term_counts


def test_a_text_keeps_its_number() -> None:
    dictionary = TermDictionary()

    first, again = dictionary.intern(["b", "a"]), dictionary.intern(["a", "c", "b"])

    assert first.tolist() == [0, 1]
    assert again.tolist() == [1, 2, 0]
    assert dictionary.texts == ["b", "a", "c"]


def test_a_text_that_comes_twice_at_once_gets_one_number() -> None:
    assert TermDictionary().intern(["a", "a"]).tolist() == [0, 0]


@pytest.mark.parametrize("text", ["", "x" * 65, "a\0b"])
def test_a_text_that_is_no_term_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must"):
        TermDictionary().intern([text])


def test_a_full_dictionary_refuses_new_texts_only() -> None:
    dictionary = TermDictionary(limit=2)
    dictionary.intern(["a", "b"])

    with pytest.raises(ValueError, match="at most 2 different ones"):
        dictionary.intern(["c"])

    assert dictionary.intern(["b"]).tolist() == [1]


def test_counts_are_numbered_by_the_dictionary() -> None:
    dictionary = TermDictionary()
    dictionary.intern(["z", "b"])

    counts = dictionary.intern_counts(make_term_counts([{"a": 3, "b": 2}]))

    assert dictionary.to_texts(counts.terms) == ["a", "b"]
    assert counts.devices.tolist() == [3, 2]


def test_counts_without_texts_stay_empty() -> None:
    counts = TermDictionary().intern_counts(make_term_counts([{}]))

    assert counts.terms.tolist() == []


def test_ranks_follow_the_texts_and_not_the_numbers() -> None:
    dictionary = TermDictionary()
    dictionary.intern(["pear", "apple", "fig"])

    assert dictionary.rank(np.array([0, 1, 0, 2])).tolist() == [2, 0, 2, 1]


def test_rows_are_numbered_by_both_dictionaries() -> None:
    terms = Terms.empty()
    terms.genres.intern(["Comedy"])
    rows = make_cluster_rows([1], [5], [{"film:1": 4}])

    numbered = terms.intern_rows(rows)

    assert terms.genres.to_texts(numbered.genres.terms) == ["Drama"]
    assert terms.contents.to_texts(numbered.contents.terms) == ["film:1"]


def test_subjects_of_genres_are_negative_and_can_be_decoded() -> None:
    numbers = np.array([0, 1, 7])

    subjects = encode_genres(numbers)

    assert (subjects < 0).all()
    assert decode_genres(subjects).tolist() == numbers.tolist()
