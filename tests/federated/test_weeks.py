from __future__ import annotations

from datetime import UTC, datetime

from constellation.federated.weeks import find_week, find_week_start


def test_a_week_begins_on_monday_at_midnight() -> None:
    monday = datetime(2026, 11, 23, tzinfo=UTC).timestamp()

    assert monday == find_week_start(find_week(monday))
    assert find_week(monday - 0.5) == find_week(monday) - 1
    assert find_week(monday + 7 * 86_400 - 0.5) == find_week(monday)
    assert find_week(datetime(1970, 1, 5, tzinfo=UTC).timestamp()) == 0
