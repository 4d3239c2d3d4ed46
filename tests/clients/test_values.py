from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from constellation_settop import (
    Context,
    DayType,
    InvalidArgumentError,
    LocalChanges,
    Signal,
    TimeOfDay,
)
from constellation_settop.values import MAX_TIMESTAMP, to_datetime

NOW = 1_700_000_000.0


def test_a_context_follows_the_households_clock() -> None:
    saturday_night = datetime(2026, 11, 21, 23, 30, tzinfo=UTC)

    assert Context.from_datetime(saturday_night) == Context(TimeOfDay.NIGHT, DayType.WEEKEND)
    assert Context.from_datetime(saturday_night.replace(hour=8, day=23)) == Context(
        TimeOfDay.MORNING, DayType.WEEKDAY
    )


@pytest.mark.parametrize(
    ("hour", "part"),
    [
        (4, TimeOfDay.NIGHT),
        (5, TimeOfDay.MORNING),
        (11, TimeOfDay.MORNING),
        (12, TimeOfDay.AFTERNOON),
        (17, TimeOfDay.EVENING),
        (21, TimeOfDay.EVENING),
        (22, TimeOfDay.NIGHT),
    ],
)
def test_each_part_of_the_day_has_its_hours(hour: int, part: TimeOfDay) -> None:
    moment = datetime(2026, 11, 23, hour, tzinfo=UTC)

    assert Context.from_datetime(moment).time_of_day is part


def test_no_timestamp_is_now() -> None:
    assert to_datetime(None, NOW).timestamp() == NOW


def test_a_datetime_keeps_its_time_zone() -> None:
    tokyo = timezone(timedelta(hours=9))

    moment = to_datetime(datetime(2026, 11, 23, 8, tzinfo=tokyo), NOW)

    assert moment.hour == 8
    assert moment.tzinfo is tokyo


@pytest.mark.parametrize("timestamp", [-1, MAX_TIMESTAMP + 1, 1.7e12, float("nan"), float("inf")])
def test_a_time_that_the_wire_cannot_carry_is_refused(timestamp: float) -> None:
    with pytest.raises(InvalidArgumentError, match="watched_at must be"):
        to_datetime(timestamp, NOW)


@pytest.mark.parametrize(
    "changes",
    [
        LocalChanges(forgotten_ids=[bytes(16)]),
        LocalChanges(signals=[Signal("a", 1)]),
        LocalChanges(watched_ids=["a"]),
    ],
)
def test_changes_of_any_kind_are_changes(changes: LocalChanges) -> None:
    assert changes
    assert not LocalChanges()
