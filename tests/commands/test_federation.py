from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.commands.servers import open_fleet, run_apart, serving
from tests.scenarios.sdk_devices import free_address

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.commands.conftest import Asking
    from tests.commands.servers import Fleet

PROGRAM = "federation"


@pytest.fixture(scope="module")
def idle(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A federation of the same shards that has not run a round."""
    address = free_address()
    settings = {
        "shard_addrs": fleet.all_shards,
        "data_dir": tmp_path_factory.mktemp("idle"),
        "federation_interval_secs": 0,
    }
    with serving("federation", "run", ready="federation_active", grpc_addr=address, **settings):
        yield address


def test_status_says_how_it_is_and_what_its_newest_round_was(ask: Asking, fleet: Fleet) -> None:
    finished = ask("status", "--address", fleet.federation, program=PROGRAM)

    assert finished.status == 0
    title, *_ = finished.out.splitlines()
    assert title.startswith(f"Federation at {fleet.federation}: healthy, active, up for ")
    assert "\nRound 1, " in finished.out
    assert "  coverage  2 of 2 shards heard; 24 of 24 devices (100%)\n" in finished.out
    assert any(
        line.split()[:3] == ["1", fleet.shards[1], "heard"] for line in finished.out.splitlines()
    )


def test_status_as_json_has_the_newest_round(ask: Asking, fleet: Fleet) -> None:
    told = ask.json("status", "--address", fleet.federation, program=PROGRAM)

    assert told["active"] is True
    assert told["newest_round"]["round_id"] == "1"
    assert told["newest_round"]["state"] == "ROUND_STATE_PUBLISHED"


def test_rounds_are_listed_newest_first(ask: Asking, fleet: Fleet) -> None:
    told = ask.json("rounds", "--address", fleet.federation, program=PROGRAM)
    finished = ask("rounds", "--address", fleet.federation, program=PROGRAM)

    head, row, sums = finished.out.splitlines()
    assert head.split()[:4] == ["round", "closed", "state", "shards"]
    assert row.split()[0] == "1"
    assert "published" in row
    assert "2 of 2" in row
    assert sums == "1 round"
    assert [each["round_id"] for each in told["rounds"]] == ["1"]
    assert told["more"] is False


def test_a_round_is_printed_by_its_number(ask: Asking, fleet: Fleet) -> None:
    finished = ask("round", "1", "--address", fleet.federation, program=PROGRAM)

    assert finished.status == 0
    assert finished.out.startswith("Round 1, ")
    assert ask.json("round", "--address", fleet.federation, program=PROGRAM)["round_id"] == "1"


def test_an_unknown_round_is_named(ask: Asking, fleet: Fleet) -> None:
    finished = ask("round", "99", "--address", fleet.federation, program=PROGRAM)

    assert finished.status == 1
    assert finished.err == (
        f"federation: {fleet.federation} has no round 99; `federation rounds` lists them\n"
    )


def test_a_federation_that_has_run_no_round_says_how_to_run_one(ask: Asking, idle: str) -> None:
    status, rounds, newest = (
        ask(command, "--address", idle, program=PROGRAM)
        for command in ("status", "rounds", "round")
    )

    assert status.status == rounds.status == 0
    assert status.out.endswith("\nno rounds yet: `federation round --run` runs one\n")
    assert rounds.out == "no rounds yet: `federation round --run` runs one\n"
    assert newest.status == 1
    assert newest.err == (
        f"federation: {idle} has run no round yet: `federation round --run` does\n"
    )


def test_no_federation_here_says_what_to_start(
    ask_alone: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = free_address()
    monkeypatch.setenv("GRPC_ADDR", nobody)
    monkeypatch.setenv("SHARD_ADDRS", "127.0.0.1:1")

    finished = ask_alone("round", program=PROGRAM)

    assert finished.status == 1
    assert f"no federation answers at GRPC_ADDR={nobody}: start `federation run`" in finished.err


def test_a_round_run_here_needs_a_journal(fleet: Fleet) -> None:
    finished = run_apart("federation", "round", "--once", shard_addrs=fleet.all_shards)

    assert finished.status == 2
    assert "DATA_DIR or POSTGRES_URL is required" in finished.err


def test_one_round_is_not_run_here_and_there_at_once(ask_alone: Asking) -> None:
    finished = ask_alone("round", "--once", "--run", program=PROGRAM)

    assert finished.status == 2
    assert "argument --run: not allowed with argument --once" in finished.err


def test_a_round_is_run_when_asked_for_and_by_the_active_federation_alone(
    ask_alone: Asking, tmp_path: Path
) -> None:
    with open_fleet(tmp_path) as own:
        told = ask_alone.json("round", "--run", "--address", own.federation, program=PROGRAM)
        settings = {"shard_addrs": own.all_shards, "data_dir": tmp_path / "above"}
        here = run_apart("federation", "round", "--once", **settings)

    assert told["round_id"] == "2"
    assert told["state"] == "ROUND_STATE_PUBLISHED"
    assert here.status == 1
    assert here.out == ""
    assert here.err.splitlines()[-1].startswith("federation: ")


def test_a_round_without_a_quorum_fails_and_says_why(fleet: Fleet, tmp_path: Path) -> None:
    addresses = f"{fleet.shards[0]},{free_address()}"

    finished = run_apart(
        "federation", "round", "--once", shard_addrs=addresses, data_dir=tmp_path, min_shards=2
    )

    assert finished.status == 1
    assert "not published: too few shards were heard\n" in finished.out
