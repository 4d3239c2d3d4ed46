from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.commands.conftest import Asking
    from tests.commands.servers import Fleet

NOBODY = "5a1f0c4e9b7d4e1f8a6b3c2d1e0f9a8b"


def test_patterns_are_told_in_words(ask: Asking, fleet: Fleet) -> None:
    finished = ask("patterns")

    head, *rows, sums = finished.out.splitlines()
    patterns = 2 * len(fleet.devices[0])
    assert head.split() == ["success", "views", "when", "updated", "genres", "contents"]
    assert len(rows) == patterns
    assert sum("Solaris (1972); Stalker (1972)" in row for row in rows) > 1
    assert sums == f"{patterns} of {patterns} patterns"


def test_patterns_of_a_device_are_all_of_its_own(ask: Asking, fleet: Fleet) -> None:
    finished = ask("patterns", "--device", fleet.devices[0][0].hex())

    assert finished.out.endswith("\n2 patterns of this device\n")


def test_patterns_as_json_say_how_many_there_are(ask: Asking, fleet: Fleet) -> None:
    told = ask.json("patterns", "--limit", "3")

    assert len(told["patterns"]["success_rates"]) == 3
    assert int(told["population"]) == 2 * len(fleet.devices[0])


def test_patterns_of_an_unknown_device_say_where_to_look(ask: Asking, fleet: Fleet) -> None:
    finished = ask("patterns", "--device", NOBODY)

    assert finished.status == 1
    assert f"no device {NOBODY} has synced at {fleet.shards[0]}" in finished.err
    assert "`constellation devices DEVICE_ID --all`" in finished.err


def test_an_empty_shard_may_show_no_patterns(ask_alone: Asking, empty_shard: str) -> None:
    finished = ask_alone("patterns", "--address", empty_shard)

    assert finished.out == "no patterns that may be shown yet\n"


def test_a_limit_beyond_the_shards_is_asked_wrongly(ask: Asking) -> None:
    finished = ask("patterns", "--limit", "5000")

    assert finished.status == 2
    assert "argument --limit: must be from 1 to 2000, got 5000" in finished.err
