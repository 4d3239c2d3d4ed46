from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.command_line import CommandLine


def test_trends_are_printed_with_their_hours(cli: CommandLine) -> None:
    finished = cli("trends")

    head, *rows, summary = finished.out.splitlines()
    assert head.split() == [
        "score",
        "trend",
        "direction",
        "region",
        "last",
        "24",
        "h",
        "this",
        "hour",
        "popularity",
    ]
    assert any("Solaris (1972)" in row and "█" in row for row in rows)
    assert summary == f"{len(rows)} trends"


def test_trends_without_hours_have_no_bars(cli: CommandLine) -> None:
    head, *rows, _ = cli("trends", "--hours", "0", "--limit", "1").out.splitlines()

    assert head.split() == ["score", "trend", "direction", "region", "popularity"]
    assert len(rows) == 1
    assert "█" not in rows[0]


def test_trends_as_json_have_each_hour(cli: CommandLine) -> None:
    document = cli.run_json("trends", "--hours", "48")

    assert {len(each["hourly_devices"]) for each in document["trends"]} == {48}
    lately = [max(each["hourly_devices"][-3:]) for each in document["trends"]]  # hours go by
    assert max(lately) > 1


def test_an_empty_shard_has_neither(unconfigured_cli: CommandLine, empty_shard: str) -> None:
    trends = unconfigured_cli("trends", "--address", empty_shard)
    clusters = unconfigured_cli("clusters", "--address", empty_shard)

    assert trends.out == "no trends yet\n"
    assert clusters.out == "no clusters yet: this shard has received no round\n"
