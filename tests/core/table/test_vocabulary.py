from __future__ import annotations

import pytest

from constellation.core.rows import TermKind
from constellation.core.store import Term
from constellation.core.table.vocabulary import TERM_LIMITS, PendingTerms, Vocabulary

GENRE, CONTENT = TermKind.GENRE, TermKind.CONTENT


def test_terms_of_each_kind_are_numbered_from_one() -> None:
    vocabulary = Vocabulary([Term(GENRE, 1, "a"), Term(CONTENT, 1, "a"), Term(CONTENT, 2, "b")])

    assert vocabulary.number(GENRE, "a") == vocabulary.number(CONTENT, "a") == 1
    assert vocabulary.text(CONTENT, 2) == "b"
    assert [vocabulary.count(kind) for kind in (GENRE, CONTENT)] == [1, 2]


def test_an_unknown_term_has_number_zero() -> None:
    assert Vocabulary().number(GENRE, "a") == 0
    assert Vocabulary().text(GENRE, 0) == ""


def test_a_number_out_of_turn_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="term 2 after 0"):
        Vocabulary([Term(GENRE, 2, "a")])


def test_pending_terms_continue_the_numbers_and_leave_the_vocabulary_alone() -> None:
    vocabulary = Vocabulary([Term(GENRE, 1, "a")])
    pending = PendingTerms(vocabulary)

    numbers = pending.assign_numbers(GENRE, ["b", "a", "c", "b"])

    assert numbers == [2, 1, 3, 2]
    assert vocabulary.count(GENRE) == 1
    vocabulary.add(pending.to_terms())
    assert vocabulary.number(GENRE, "c") == 3


def test_beyond_the_limit_a_new_term_gets_zero() -> None:
    limit = TERM_LIMITS[GENRE]
    vocabulary = Vocabulary(Term(GENRE, number, str(number)) for number in range(1, limit))
    pending = PendingTerms(vocabulary)

    numbers = pending.assign_numbers(GENRE, ["last", "too many", "1"])

    assert numbers == [limit, 0, 1]
