from __future__ import annotations

import re
from typing import TYPE_CHECKING

from testing.ports import find_free_address

if TYPE_CHECKING:
    from tests.command_line import CommandLine
    from tests.servers import RunningFleet


def test_status_prints_the_identity_and_the_size_of_a_shard(
    cli: CommandLine, fleet: RunningFleet
) -> None:
    finished = cli("status")

    assert finished.status == 0
    assert finished.err == ""
    assert finished.out.startswith(f"Shard 0 of north at {fleet.shard_addresses[0]}: healthy\n")
    devices = len(fleet.device_ids[0])
    assert f"  devices      {devices} of at most 4,000,000, {devices} active, 0 streams\n" in (
        finished.out
    )
    assert "  catalogue    5 content items\n" in finished.out
    assert re.search(r"^  round        1, \d+ clusters?, codebook 1$", finished.out, re.MULTILINE)


def test_status_of_several_shards_is_a_table(cli: CommandLine, fleet: RunningFleet) -> None:
    head, *rows, summary = cli("status", "--all").out.splitlines()

    assert head.split()[:5] == ["shard", "address", "region", "health", "epoch"]
    assert [row.split()[:4] for row in rows] == [
        ["0", fleet.shard_addresses[0], "north", "healthy"],
        ["1", fleet.shard_addresses[1], "south", "healthy"],
    ]
    assert summary == "2 of 2 shards answered: 24 devices, 0 streams, 48 patterns"


def test_status_as_json_names_every_shard(cli: CommandLine, fleet: RunningFleet) -> None:
    document = cli.run_json("status", "--all")

    assert [each["address"] for each in document["shards"]] == fleet.shard_addresses
    assert [each["info"]["region"] for each in document["shards"]] == ["north", "south"]
    assert {each["health"]["status"] for each in document["shards"]} == {"HEALTH_STATUS_HEALTHY"}
    assert sum(int(each["stats"]["patterns"]) for each in document["shards"]) == 48


def test_status_fails_when_one_of_several_does_not_answer(
    cli: CommandLine, fleet: RunningFleet
) -> None:
    unused_address = find_free_address()

    finished = cli("status", "--address", f"{fleet.shard_addresses[0]},{unused_address}")

    assert finished.status == 1
    assert re.search(rf"^ +\? +{unused_address} +unreachable$", finished.out, re.MULTILINE)
    assert "1 of 2 shards answered" in finished.out
    assert finished.err == (
        f"constellation: GetInfo at {unused_address}: connection refused: is the process running, "
        "and is this its gRPC port?\n"
    )


def test_an_empty_shard_has_had_no_round(unconfigured_cli: CommandLine, empty_shard: str) -> None:
    finished = unconfigured_cli("status", "--address", empty_shard)

    assert "  devices      0 of at most 4,000,000, 0 active, 0 streams\n" in finished.out
    assert "  round        none yet\n" in finished.out
