from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from testing.ports import find_free_address
from tests.servers import RunningFleet, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.command_line import CommandLine

PROGRAM = "federation"


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


def test_a_federation_that_has_run_no_round_says_how_to_run_one(
    cli: CommandLine, idle_federation: str
) -> None:
    status, rounds, newest = (
        cli(command, "--address", idle_federation, program=PROGRAM)
        for command in ("status", "rounds", "round")
    )

    assert status.status == rounds.status == 0
    assert status.out.endswith("\nno rounds yet: run one with `federation round --run`\n")
    assert rounds.out == "no rounds yet: run one with `federation round --run`\n"
    assert newest.status == 1
    assert newest.err == (
        f"federation: {idle_federation} has no rounds yet: run one with `federation round --run`\n"
    )


def test_without_a_federation_here_the_command_says_what_to_start(
    unconfigured_cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    unused_address = find_free_address()
    monkeypatch.setenv("GRPC_ADDR", unused_address)
    monkeypatch.setenv("SHARD_ADDRS", "127.0.0.1:1")

    finished = unconfigured_cli("round", program=PROGRAM)

    assert finished.status == 1
    assert (
        f"no federation is reachable at GRPC_ADDR={unused_address}: start `federation run`"
        in finished.err
    )


def test_one_round_is_run_either_here_or_there(unconfigured_cli: CommandLine) -> None:
    finished = unconfigured_cli("round", "--once", "--run", program=PROGRAM)

    assert finished.status == 2
    assert "argument --run: not allowed with argument --once" in finished.err
