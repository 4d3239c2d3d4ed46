"""Views that are durable but not saved yet: what a power failure must not lose.

What a device learns is saved at intervals. Until then, the views are kept as they were observed;
a device that did not end as it should observes them again when it is opened.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from constellation_settop.recommending.rewards import Feedback
from constellation_settop.values import Context, DayType, TimeOfDay, View, to_datetime

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator


@dataclass(frozen=True, slots=True)
class UnsavedView:
    """A view of a profile, or what it said about a content item."""

    profile: str
    observed: View | tuple[str, Feedback]


def insert_views(connection: sqlite3.Connection, views: Iterable[UnsavedView]) -> None:
    """Add views at the end. Call it inside a transaction."""
    connection.executemany(
        "INSERT INTO unsaved_views"
        "(profile, content_id, watch_percentage, engagement, watched_at, time_of_day, day_type, "
        "feedback) VALUES(?,?,?,?,?,?,?,?)",
        [_to_row(each) for each in views],
    )


def _to_row(unsaved: UnsavedView) -> tuple[str | float | int | None, ...]:
    if not isinstance(unsaved.observed, View):
        content_id, feedback = unsaved.observed
        return (unsaved.profile, content_id, None, None, None, None, None, int(feedback))
    view = unsaved.observed
    context = view.context
    return (
        unsaved.profile,
        view.content_id,
        float(view.watch_percentage),
        None if view.engagement is None else float(view.engagement),
        to_datetime(view.watched_at, time.time()).timestamp(),
        None if context is None else int(context.time_of_day),
        None if context is None else int(context.day_type),
        None,
    )


def read_views(connection: sqlite3.Connection) -> Iterator[UnsavedView]:
    """Yield every view, in the order in which they were observed."""
    rows = connection.execute(
        "SELECT profile, content_id, watch_percentage, engagement, watched_at, time_of_day, "
        "day_type, feedback FROM unsaved_views ORDER BY rowid"
    )
    for profile, content_id, share, engagement, watched_at, time_of_day, day_type, said in rows:
        if said is not None:
            yield UnsavedView(profile, (content_id, Feedback(said)))
            continue
        context = None
        if time_of_day is not None:
            context = Context(TimeOfDay(time_of_day), DayType(day_type))
        yield UnsavedView(profile, View(content_id, share, engagement, watched_at, context))


def delete_views(connection: sqlite3.Connection, profile: str) -> None:
    """Delete the views of a profile. Call it inside a transaction."""
    connection.execute("DELETE FROM unsaved_views WHERE profile=?", (profile,))


def delete_all_views(connection: sqlite3.Connection) -> None:
    """Delete the views of all profiles. Call it inside a transaction."""
    connection.execute("DELETE FROM unsaved_views")
