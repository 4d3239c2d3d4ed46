from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.servers import TITLES, RunningFleet

if TYPE_CHECKING:
    from tests.command_line import CommandLine


def test_the_catalogue_is_listed_in_the_order_of_its_ids(cli: CommandLine) -> None:
    head, *rows, summary = cli("content", "list").out.splitlines()

    assert head.split() == ["content", "id", "title", "year", "type", "genres"]
    assert [row.split()[0] for row in rows] == sorted(TITLES)
    assert re.split("  +", rows[-1]) == ["film:3", "Ran [1985 cut]", "1972", "movie", "Drama"]
    assert summary == "5 content items"


def test_the_catalogue_as_json_says_that_more_exist(cli: CommandLine) -> None:
    document = cli.run_json("content", "list", "--limit", "2")

    assert [each["content_id"] for each in document["contents"]] == ["film:1", "film:1b"]
    assert document["more"] is True


def test_a_content_item_is_printed_whole(cli: CommandLine) -> None:
    finished = cli("content", "get", "film:3")

    assert finished.out.splitlines()[0] == "Ran [1985 cut]"
    assert "  type       movie\n  year       1972\n  genres     Drama\n" in finished.out
    assert cli.run_json("content", "get", "film:3")["content"]["title"] == "Ran [1985 cut]"


def test_an_unknown_content_item_is_named(cli: CommandLine, fleet: RunningFleet) -> None:
    finished = cli("content", "get", "film:404")

    assert finished.status == 1
    assert finished.err == (
        f"constellation: the catalogue of {fleet.shard_addresses[0]} has no content item film:404; "
        "`constellation content list` lists what it has\n"
    )


def test_an_empty_catalogue_says_how_to_fill_it(
    unconfigured_cli: CommandLine, empty_shard: str
) -> None:
    finished = unconfigured_cli("content", "list", "--address", empty_shard)

    assert finished.out == "the catalogue is empty: fill it with `constellation content add`\n"
