from __future__ import annotations

import re
from typing import TYPE_CHECKING

from testing.ports import find_free_address

if TYPE_CHECKING:
    from tests.command_line import CommandLine
    from tests.servers import RunningFleet


def test_status_says_who_a_shard_is_and_what_it_holds(
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
    assert "  catalogue    5 contents\n" in finished.out
    assert re.search(r"^  round        1, \d+ clusters?, codebook 1$", finished.out, re.MULTILINE)


def test_status_of_several_shards_is_a_table(cli: CommandLine, fleet: RunningFleet) -> None:
    head, *rows, sums = cli("status", "--all").out.splitlines()

    assert head.split()[:5] == ["shard", "address", "region", "health", "epoch"]
    assert [row.split()[:4] for row in rows] == [
        ["0", fleet.shard_addresses[0], "north", "healthy"],
        ["1", fleet.shard_addresses[1], "south", "healthy"],
    ]
    assert sums == "2 of 2 shards answered: 24 devices, 0 streams, 48 patterns"


def test_status_as_json_names_every_shard(cli: CommandLine, fleet: RunningFleet) -> None:
    told = cli.run_json("status", "--all")

    assert [each["address"] for each in told["shards"]] == fleet.shard_addresses
    assert [each["info"]["region"] for each in told["shards"]] == ["north", "south"]
    assert {each["health"]["status"] for each in told["shards"]} == {"HEALTH_STATUS_HEALTHY"}
    assert sum(int(each["stats"]["patterns"]) for each in told["shards"]) == 48


def test_status_fails_when_one_of_several_does_not_answer(
    cli: CommandLine, fleet: RunningFleet
) -> None:
    nobody = find_free_address()

    finished = cli("status", "--address", f"{fleet.shard_addresses[0]},{nobody}")

    assert finished.status == 1
    assert re.search(rf"^ +\? +{nobody} +no answer$", finished.out, re.MULTILINE)
    assert "1 of 2 shards answered" in finished.out
    assert finished.err == (
        f"constellation: GetInfo of {nobody}: nobody listens there: is the process running, "
        "is it the gRPC port?\n"
    )


def test_an_empty_shard_has_had_no_round(unconfigured_cli: CommandLine, empty_shard: str) -> None:
    finished = unconfigured_cli("status", "--address", empty_shard)

    assert "  devices      0 of at most 4,000,000, 0 active, 0 streams\n" in finished.out
    assert "  round        none yet\n" in finished.out
