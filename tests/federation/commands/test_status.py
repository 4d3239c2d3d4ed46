from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.command_line import CommandLine
    from tests.servers import RunningFleet

PROGRAM = "federation"


def test_status_prints_the_health_and_the_newest_round(
    cli: CommandLine, fleet: RunningFleet
) -> None:
    finished = cli("status", "--address", fleet.federation_address, program=PROGRAM)

    assert finished.status == 0
    title, *_ = finished.out.splitlines()
    assert title.startswith(f"Federation at {fleet.federation_address}: healthy, active, up for ")
    assert "\nRound 1, " in finished.out
    assert "  coverage  2 of 2 shards fresh; 24 of 24 devices (100%), " in finished.out
    assert any(
        line.split()[:3] == ["1", fleet.shard_addresses[1], "fresh"]
        for line in finished.out.splitlines()
    )


def test_status_as_json_has_the_newest_round(cli: CommandLine, fleet: RunningFleet) -> None:
    document = cli.run_json("status", "--address", fleet.federation_address, program=PROGRAM)

    assert document["active"] is True
    assert document["newest_round"]["round_id"] == "1"
    assert document["newest_round"]["state"] == "ROUND_STATE_PUBLISHED"
