from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from testing.ports import find_free_address
from tests.servers import run_fleet, run_server, run_subprocess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.command_line import CommandLine
    from tests.servers import RunningFleet

PROGRAM = "federation"


@pytest.fixture(scope="module")
def idle_federation(fleet: RunningFleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A federation of the same shards that has not run a round."""
    address = find_free_address()
    settings = {
        "shard_addrs": fleet.shard_list,
        "data_dir": tmp_path_factory.mktemp("idle"),
        "federation_interval_secs": 0,
    }
    with run_server(
        "federation", "run", ready_event="federation_active", grpc_addr=address, **settings
    ):
        yield address


def test_status_says_how_it_is_and_what_its_newest_round_was(
    cli: CommandLine, fleet: RunningFleet
) -> None:
    finished = cli("status", "--address", fleet.federation_address, program=PROGRAM)

    assert finished.status == 0
    title, *_ = finished.out.splitlines()
    assert title.startswith(f"Federation at {fleet.federation_address}: healthy, active, up for ")
    assert "\nRound 1, " in finished.out
    assert "  coverage  2 of 2 shards heard; 24 of 24 devices (100%)\n" in finished.out
    assert any(
        line.split()[:3] == ["1", fleet.shard_addresses[1], "heard"]
        for line in finished.out.splitlines()
    )


def test_status_as_json_has_the_newest_round(cli: CommandLine, fleet: RunningFleet) -> None:
    told = cli.run_json("status", "--address", fleet.federation_address, program=PROGRAM)

    assert told["active"] is True
    assert told["newest_round"]["round_id"] == "1"
    assert told["newest_round"]["state"] == "ROUND_STATE_PUBLISHED"


def test_rounds_are_listed_newest_first(cli: CommandLine, fleet: RunningFleet) -> None:
    told = cli.run_json("rounds", "--address", fleet.federation_address, program=PROGRAM)
    finished = cli("rounds", "--address", fleet.federation_address, program=PROGRAM)

    head, row, sums = finished.out.splitlines()
    assert head.split()[:4] == ["round", "closed", "state", "shards"]
    assert row.split()[0] == "1"
    assert "published" in row
    assert "2 of 2" in row
    assert sums == "1 round"
    assert [each["round_id"] for each in told["rounds"]] == ["1"]
    assert told["more"] is False


def test_a_round_is_printed_by_its_number(cli: CommandLine, fleet: RunningFleet) -> None:
    finished = cli("round", "1", "--address", fleet.federation_address, program=PROGRAM)

    assert finished.status == 0
    assert finished.out.startswith("Round 1, ")
    assert (
        cli.run_json("round", "--address", fleet.federation_address, program=PROGRAM)["round_id"]
        == "1"
    )


def test_an_unknown_round_is_named(cli: CommandLine, fleet: RunningFleet) -> None:
    finished = cli("round", "99", "--address", fleet.federation_address, program=PROGRAM)

    assert finished.status == 1
    assert finished.err == (
        f"federation: {fleet.federation_address} has no round 99; `federation rounds` lists them\n"
    )


def test_a_federation_that_has_run_no_round_says_how_to_run_one(
    cli: CommandLine, idle_federation: str
) -> None:
    status, rounds, newest = (
        cli(command, "--address", idle_federation, program=PROGRAM)
        for command in ("status", "rounds", "round")
    )

    assert status.status == rounds.status == 0
    assert status.out.endswith("\nno rounds yet: `federation round --run` runs one\n")
    assert rounds.out == "no rounds yet: `federation round --run` runs one\n"
    assert newest.status == 1
    assert newest.err == (
        f"federation: {idle_federation} has run no round yet: `federation round --run` does\n"
    )


def test_no_federation_here_says_what_to_start(
    unconfigured_cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = find_free_address()
    monkeypatch.setenv("GRPC_ADDR", nobody)
    monkeypatch.setenv("SHARD_ADDRS", "127.0.0.1:1")

    finished = unconfigured_cli("round", program=PROGRAM)

    assert finished.status == 1
    assert f"no federation answers at GRPC_ADDR={nobody}: start `federation run`" in finished.err


def test_a_round_run_here_needs_a_journal(fleet: RunningFleet) -> None:
    finished = run_subprocess("federation", "round", "--once", shard_addrs=fleet.shard_list)

    assert finished.status == 2
    assert "DATA_DIR or POSTGRES_URL is required" in finished.err


def test_one_round_is_not_run_here_and_there_at_once(unconfigured_cli: CommandLine) -> None:
    finished = unconfigured_cli("round", "--once", "--run", program=PROGRAM)

    assert finished.status == 2
    assert "argument --run: not allowed with argument --once" in finished.err


def test_a_round_is_run_when_asked_for_and_by_the_active_federation_alone(
    unconfigured_cli: CommandLine, tmp_path: Path
) -> None:
    with run_fleet(tmp_path) as own:
        told = unconfigured_cli.run_json(
            "round", "--run", "--address", own.federation_address, program=PROGRAM
        )
        settings = {"shard_addrs": own.shard_list, "data_dir": tmp_path / "above"}
        here = run_subprocess("federation", "round", "--once", **settings)

    assert told["round_id"] == "2"
    assert told["state"] == "ROUND_STATE_PUBLISHED"
    assert here.status == 1
    assert here.out == ""
    assert here.err.splitlines()[-1].startswith("federation: ")


def test_a_round_without_a_quorum_fails_and_says_why(fleet: RunningFleet, tmp_path: Path) -> None:
    addresses = f"{fleet.shard_addresses[0]},{find_free_address()}"

    finished = run_subprocess(
        "federation", "round", "--once", shard_addrs=addresses, data_dir=tmp_path, min_shards=2
    )

    assert finished.status == 1
    assert "not published: too few shards were heard\n" in finished.out
