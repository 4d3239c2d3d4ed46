from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.command_line import CommandLine


def test_trends_are_told_with_their_hours(cli: CommandLine) -> None:
    finished = cli("trends")

    head, *rows, sums = finished.out.splitlines()
    assert head.split() == ["score", "trend", "where", "last", "24", "h", "now", "popularity"]
    assert any("Solaris (1972)" in row and "█" in row for row in rows)
    assert sums == f"{len(rows)} trends"


def test_trends_without_hours_have_no_bars(cli: CommandLine) -> None:
    head, *rows, _ = cli("trends", "--hours", "0", "--limit", "1").out.splitlines()

    assert head.split() == ["score", "trend", "where", "popularity"]
    assert len(rows) == 1
    assert "█" not in rows[0]


def test_trends_as_json_have_each_hour(cli: CommandLine) -> None:
    told = cli.run_json("trends", "--hours", "48")

    assert {len(each["hourly_devices"]) for each in told["trends"]} == {48}
    lately = [max(each["hourly_devices"][-3:]) for each in told["trends"]]  # hours go by
    assert max(lately) > 1


def test_clusters_are_told_with_titles(cli: CommandLine) -> None:
    finished = cli("clusters")

    head, *rows, sums = finished.out.splitlines()
    assert head.split() == ["devices", "success", "genres", "contents"]
    assert any("Solaris (1972)" in row for row in rows)
    assert sums.endswith(" of round 1")


def test_clusters_as_json_name_the_round(cli: CommandLine) -> None:
    told = cli.run_json("clusters", "--limit", "1")

    assert told["round_id"] == "1"
    assert len(told["clusters"]["success_rates"]) == 1


def test_an_empty_shard_has_neither(unconfigured_cli: CommandLine, empty_shard: str) -> None:
    trends = unconfigured_cli("trends", "--address", empty_shard)
    clusters = unconfigured_cli("clusters", "--address", empty_shard)

    assert trends.out == "no trends yet\n"
    assert clusters.out == "no clusters yet: no round was published here\n"
