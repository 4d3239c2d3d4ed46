from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from constellation_settop import Brain, Context, Feedback, InvalidArgumentError, View
from tests.clients.samples import make_catalogue

if TYPE_CHECKING:
    from collections.abc import Callable

BAD_VIEWS: list[tuple[Any, str]] = [
    ("0-1", "a view must be a View, got '0-1': write View"),
    (View(7, 0.9), "a content id must be a str, got 7"),  # type: ignore[arg-type]  # on purpose
    (View("", 0.9), "1 to 64 bytes, got 0"),
    (View("ä" * 33, 0.9), "1 to 64 bytes, got 66"),
    (View("0-1", 93), "watch_percentage must be a number from 0 to 1 .0.93 for 93 %., got 93"),
    (View("0-1", float("nan")), "watch_percentage must be a number from 0 to 1"),
    (View("0-1", "0.9"), "watch_percentage must be a number"),  # type: ignore[arg-type]  # on purpose
    (View("0-1", None), "watch_percentage must be a number"),  # type: ignore[arg-type]  # on purpose
    (View("0-1", 0.9, float("inf")), "engagement must be a number from 0 to 1"),
    (View("0-1", 0.9, watched_at=1.7e12), "give seconds, not milliseconds"),
    (View("0-1", 0.9, watched_at=-5), "from 1970 to 2106"),
    (View("0-1", 0.9, watched_at="today"), "watched_at must be a datetime or seconds"),  # type: ignore[arg-type]  # on purpose
    (View("0-1", 0.9, watched_at=float("nan")), "watched_at must be a datetime or seconds"),
    (View("0-1", 0.9, context="evening"), "context must be a Context or None"),  # type: ignore[arg-type]  # on purpose
]
BAD_CALLS: list[tuple[Callable[[Any], object], str]] = [
    (lambda brain: brain.recommend(5), "context must be a Context or None, got 5"),
    (lambda brain: brain.recommend(limit=0), "limit must be a whole number, at least 1, got 0"),
    (lambda brain: brain.recommend(limit="5"), "limit must be a whole number, at least 1, got '5'"),
    (lambda brain: brain.recommend(limit=2.5), "limit must be a whole number"),
    (lambda brain: brain.recommend(genres="Drama"), r"genres must be a collection.*\['Drama'\]"),
    (lambda brain: brain.recommend(exclude="a"), r"exclude must be a collection.*\['a'\]"),
    (lambda brain: brain.feedback(7, Feedback.LIKED), "a content id must be a str, got 7"),
    (lambda brain: brain.feedback("0-1", "liked"), "feedback must be Feedback.LIKED"),
    (lambda brain: brain.forget(None), "a content id must be a str, got None"),
]


@pytest.mark.parametrize(("view", "problem"), BAD_VIEWS)
def test_a_bad_view_is_refused_by_name_and_teaches_nothing(view: Any, problem: str) -> None:
    brain = Brain(make_catalogue())

    with pytest.raises(InvalidArgumentError, match=problem):
        brain.observe(view)

    assert not brain.take_changes()
    assert len(brain.recommend(limit=100)) == 40


@pytest.mark.parametrize(("call", "problem"), BAD_CALLS)
def test_a_bad_call_is_refused_by_name(call: Callable[[Any], object], problem: str) -> None:
    brain = Brain(make_catalogue())

    with pytest.raises(InvalidArgumentError, match=problem):
        call(brain)

    assert not brain.take_changes()


def test_any_kind_of_number_and_no_context_are_fine() -> None:
    brain = Brain(make_catalogue())

    assert brain.observe(View("0-1", 1, context=Context())) == 1
    assert len(brain.recommend(None, 3)) == 3
