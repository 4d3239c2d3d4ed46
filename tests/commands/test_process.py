"""log-level, drain and config."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import pytest

from constellation.config import ShardConfig
from federation.config import FederationConfig
from testing.ports import find_free_address
from tests.servers import DEADLINE_SECONDS, run_shard_server
from tests.terminal import run_on_terminal

if TYPE_CHECKING:
    from tests.command_line import CommandLine
    from tests.servers import RunningFleet


def test_log_levels_are_changed_and_changed_back(cli: CommandLine, fleet: RunningFleet) -> None:
    changed = cli("log-level", "debug", "--all")
    told = cli.run_json("log-level", "--all")
    cli("log-level", "info", "--all")

    assert changed.out.splitlines() == [
        f"{address} logs debug (was info)" for address in fleet.shard_addresses
    ]
    assert told == {
        "processes": [
            {"address": address, "level": "LOG_LEVEL_DEBUG"} for address in fleet.shard_addresses
        ]
    }
    assert cli("log-level").out == f"{fleet.shard_addresses[0]} logs info\n"


def test_a_federation_has_a_log_level(cli: CommandLine, fleet: RunningFleet) -> None:
    finished = cli("log-level", "--address", fleet.federation_address, program="federation")

    assert finished.out == f"{fleet.federation_address} logs info\n"


def test_drain_ends_a_shards_process(unconfigured_cli: CommandLine) -> None:
    address = find_free_address()
    with run_shard_server(address) as process:
        told = unconfigured_cli.run_json("drain", "--address", address, "--yes", "--spread", "0")

        assert process.wait(DEADLINE_SECONDS) == 0
    assert told["address"] == address
    assert told["streams"] == 0


def test_drain_asks_first_and_does_nothing_where_nobody_can_be_asked(cli: CommandLine) -> None:
    finished = cli("drain")

    assert finished.status == 2
    assert "there is no terminal to ask on: give --yes" in finished.err
    assert cli("status").status == 0


def test_drain_asks_on_a_terminal_and_takes_no_for_an_answer(
    cli: CommandLine, fleet: RunningFleet
) -> None:
    with run_on_terminal("constellation", "drain", GRPC_ADDR=fleet.shard_addresses[0]) as terminal:
        terminal.read_until("Drain it? [y/N] ")
        terminal.press_keys("n\n")
        status = terminal.read_to_exit()

    assert status == 1
    assert f"Shard 0 of north at {fleet.shard_addresses[0]} has 0 streams." in terminal.text
    assert "constellation: not drained" in terminal.text
    assert cli("status").status == 0


@pytest.mark.parametrize(
    ("program", "kind"), [("constellation", ShardConfig), ("federation", FederationConfig)]
)
def test_config_names_every_setting_and_where_it_comes_from(
    unconfigured_cli: CommandLine, monkeypatch: pytest.MonkeyPatch, program: str, kind: type
) -> None:
    monkeypatch.setenv("REGION", "north")
    monkeypatch.setenv("SHARD_ADDRS", "127.0.0.1:1")
    monkeypatch.setenv("DATA_DIR", "data")

    told = unconfigured_cli.run_json("config", program=program)["settings"]
    table = unconfigured_cli("config", program=program)

    assert [each["name"] for each in told] == [each.name.upper() for each in fields(kind)]
    assert {each["name"]: each["source"] for each in told}["REGION"] == "environment"
    head, *rows = table.out.splitlines()
    assert head.split() == ["setting", "value", "from", "meaning"]
    assert len(rows) == len(told)  # nothing wraps where no terminal is
    assert all(each["meaning"] in row for each, row in zip(told, rows, strict=True))


def test_config_never_prints_a_secret(
    unconfigured_cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTGRES_URL", "postgresql://me:hunter2@db/constellation")

    finished = unconfigured_cli("config")

    assert finished.status == 0
    assert "hunter2" not in finished.out
    assert "set, not shown" in finished.out


def test_config_names_all_that_is_wrong(
    unconfigured_cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRPC_ADDR", "nowhere")
    monkeypatch.setenv("MAX_DEVICES", "-1")

    finished = unconfigured_cli("config")

    assert finished.status == 2
    assert finished.out == ""
    assert "GRPC_ADDR" in finished.err
    assert "MAX_DEVICES" in finished.err
