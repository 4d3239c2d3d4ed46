from __future__ import annotations

from typing import TYPE_CHECKING

from testing.ports import find_free_address
from tests.servers import RunningFleet, run_fleet, run_subprocess

if TYPE_CHECKING:
    from pathlib import Path

    from tests.command_line import CommandLine

PROGRAM = "federation"


def test_a_round_run_here_needs_a_journal(fleet: RunningFleet) -> None:
    finished = run_subprocess("federation", "round", "--once", shard_addrs=fleet.shard_list)

    assert finished.status == 2
    assert "DATA_DIR or POSTGRES_URL is required" in finished.err


def test_a_round_is_run_when_asked_for_and_by_the_active_federation_alone(
    unconfigured_cli: CommandLine, tmp_path: Path
) -> None:
    with run_fleet(tmp_path) as own:
        document = unconfigured_cli.run_json(
            "round", "--run", "--address", own.federation_address, program=PROGRAM
        )
        settings = {"shard_addrs": own.shard_list, "data_dir": tmp_path / "above"}
        here = run_subprocess("federation", "round", "--once", **settings)

    assert document["round_id"] == "2"
    assert document["state"] == "ROUND_STATE_PUBLISHED"
    assert here.status == 1
    assert here.out == ""
    assert here.err.splitlines()[-1].startswith("federation: ")


def test_a_round_without_a_quorum_fails_and_says_why(fleet: RunningFleet, tmp_path: Path) -> None:
    addresses = f"{fleet.shard_addresses[0]},{find_free_address()}"

    finished = run_subprocess(
        "federation", "round", "--once", shard_addrs=addresses, data_dir=tmp_path, min_shards=2
    )

    assert finished.status == 1
    assert "not published: no quorum\n" in finished.out
