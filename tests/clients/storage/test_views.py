"""Views that are kept come back as they were observed, until their profile is saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from constellation_settop import Context, DayType, Feedback, TimeOfDay, View
from constellation_settop.storage.database import open_database
from constellation_settop.storage.views import (
    UnsavedView,
    delete_all_views,
    delete_views,
    insert_views,
    read_views,
)

if TYPE_CHECKING:
    import sqlite3

EVENING = Context(TimeOfDay.EVENING, DayType.WEEKEND)
VIEWS = [
    UnsavedView("", View("a", 0.75, 0.5, 1_700_000_000.25, EVENING)),
    UnsavedView("kids", ("b", Feedback.LIKED)),
    UnsavedView("", View("c", 0.0, None, 1_700_000_100.0, None)),
    UnsavedView("kids", ("a", Feedback.DISLIKED)),
]


def read(connection: sqlite3.Connection) -> list[UnsavedView]:
    return list(read_views(connection))


def test_views_and_feedback_come_back_in_their_order() -> None:
    with open_database(":memory:") as connection:
        insert_views(connection, VIEWS[:3])
        insert_views(connection, VIEWS[3:])

        assert read(connection) == VIEWS


def test_a_view_without_a_time_is_kept_with_the_time_at_which_it_was_kept() -> None:
    with open_database(":memory:") as connection:
        insert_views(connection, [UnsavedView("", View("a", 1.0))])

        (kept,) = read(connection)

    assert isinstance(kept.observed, View)
    assert isinstance(kept.observed.watched_at, float)


def test_deleting_the_views_of_a_profile_leaves_those_of_others() -> None:
    with open_database(":memory:") as connection:
        insert_views(connection, VIEWS)

        delete_views(connection, "kids")
        assert read(connection) == [VIEWS[0], VIEWS[2]]

        delete_all_views(connection)
        assert read(connection) == []
