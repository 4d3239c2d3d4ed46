from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.command_line import CommandLine
    from tests.servers import RunningFleet

UNKNOWN_DEVICE = "5a1f0c4e9b7d4e1f8a6b3c2d1e0f9a8b"


def test_patterns_are_printed_in_words(cli: CommandLine, fleet: RunningFleet) -> None:
    finished = cli("patterns")

    head, *rows, summary = finished.out.splitlines()
    patterns = len(rows)
    assert 0 < patterns <= 2 * len(fleet.device_ids[0]) // 3  # each is merged of three or more
    assert head.split() == ["success", "views", "context", "updated", "genres", "titles"]
    assert any("Solaris (1972); Stalker (1972)" in row for row in rows)
    assert summary == f"{patterns} of {patterns} patterns"


def test_patterns_of_a_device_are_all_of_its_own(cli: CommandLine, fleet: RunningFleet) -> None:
    finished = cli("patterns", "--device", fleet.device_ids[0][0].hex())

    assert finished.out.endswith("\n2 patterns of this device\n")


def test_patterns_as_json_say_how_many_there_are(cli: CommandLine, fleet: RunningFleet) -> None:
    everything = cli.run_json("patterns")
    document = cli.run_json("patterns", "--limit", "1")

    assert len(document["patterns"]["success_rates"]) == 1
    assert int(document["population"]) == len(everything["patterns"]["success_rates"])
    assert int(document["population"]) <= 2 * len(fleet.device_ids[0]) // 3


def test_patterns_of_an_unknown_device_say_where_to_look(
    cli: CommandLine, fleet: RunningFleet
) -> None:
    finished = cli("patterns", "--device", UNKNOWN_DEVICE)

    assert finished.status == 1
    assert f"no device {UNKNOWN_DEVICE} has synced at {fleet.shard_addresses[0]}" in finished.err
    assert "`constellation devices DEVICE_ID --all`" in finished.err


def test_an_empty_shard_has_no_shareable_patterns(
    unconfigured_cli: CommandLine, empty_shard: str
) -> None:
    finished = unconfigured_cli("patterns", "--address", empty_shard)

    assert finished.out == "no shareable patterns yet\n"


def test_a_limit_beyond_the_shards_is_a_usage_error(cli: CommandLine) -> None:
    finished = cli("patterns", "--limit", "5000")

    assert finished.status == 2
    assert "argument --limit: must be from 1 to 1000, got 5000" in finished.err
