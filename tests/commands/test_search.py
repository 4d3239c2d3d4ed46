from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.command_line import needs_model

if TYPE_CHECKING:
    from tests.command_line import CommandLine
    from tests.servers import RunningFleet


def test_the_most_similar_patterns_come_first(cli: CommandLine) -> None:
    finished = cli("search", "--content", "film:1b", "--limit", "2")

    head, *rows, summary = finished.out.splitlines()
    assert head.split()[:3] == ["similarity", "success", "views"]
    assert "Solaris (1972); Stalker (1972)" in rows[0]
    assert summary == "2 patterns"


def test_a_search_as_json_has_the_cosines_in_order(cli: CommandLine, fleet: RunningFleet) -> None:
    document = cli.run_json("search", "--device", fleet.device_ids[0][0].hex(), "--limit", "2")

    assert len(document["similarities"]) == 2
    assert document["similarities"] == sorted(document["similarities"], reverse=True)


@pytest.mark.parametrize(
    ("flag", "kind", "item_id", "lists"),
    [
        ("--content", "content item", "film:404", "content list"),
        ("--device", "device", "00" * 15 + "ee", "devices"),
    ],
)
def test_what_the_shard_does_not_have_is_named(
    cli: CommandLine, flag: str, kind: str, item_id: str, lists: str
) -> None:
    finished = cli("search", flag, item_id)

    assert finished.status == 1
    assert f"{kind} {item_id}; `constellation {lists}` lists what it has" in finished.err


def test_a_search_needs_something_to_search_for(cli: CommandLine) -> None:
    finished = cli("search")

    assert finished.status == 2
    assert "one of the arguments --content --device --text is required" in finished.err


@needs_model
def test_a_text_is_searched_for(cli: CommandLine) -> None:
    finished = cli("search", "--text", "a heist that goes wrong", "--limit", "1")

    assert finished.status == 0, finished.err
    assert finished.out.endswith("\n1 pattern\n")
