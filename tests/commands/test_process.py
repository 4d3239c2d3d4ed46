"""log-level, drain and config."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import pytest

from constellation.config import ShardConfig
from federation.config import FederationConfig
from tests.commands.servers import DEADLINE_SECONDS, serving_shard
from tests.commands.terminal import on_terminal
from tests.scenarios.sdk_devices import free_address

if TYPE_CHECKING:
    from tests.commands.conftest import Asking
    from tests.commands.servers import Fleet


def test_log_levels_are_changed_and_changed_back(ask: Asking, fleet: Fleet) -> None:
    changed = ask("log-level", "debug", "--all")
    told = ask.json("log-level", "--all")
    ask("log-level", "info", "--all")

    assert changed.out.splitlines() == [
        f"{address} logs debug (was info)" for address in fleet.shards
    ]
    assert told == {
        "processes": [{"address": address, "level": "LOG_LEVEL_DEBUG"} for address in fleet.shards]
    }
    assert ask("log-level").out == f"{fleet.shards[0]} logs info\n"


def test_a_federation_has_a_log_level(ask: Asking, fleet: Fleet) -> None:
    finished = ask("log-level", "--address", fleet.federation, program="federation")

    assert finished.out == f"{fleet.federation} logs info\n"


def test_drain_ends_a_shards_process(ask_alone: Asking) -> None:
    address = free_address()
    with serving_shard(address) as process:
        told = ask_alone.json("drain", "--address", address, "--yes", "--spread", "0")

        assert process.wait(DEADLINE_SECONDS) == 0
    assert told["address"] == address
    assert told["streams"] == 0


def test_drain_asks_first_and_does_nothing_where_nobody_can_be_asked(ask: Asking) -> None:
    finished = ask("drain")

    assert finished.status == 2
    assert "there is no terminal to ask on: give --yes" in finished.err
    assert ask("status").status == 0


def test_drain_asks_on_a_terminal_and_takes_no_for_an_answer(ask: Asking, fleet: Fleet) -> None:
    with on_terminal("constellation", "drain", GRPC_ADDR=fleet.shards[0]) as terminal:
        terminal.read_until("Drain it? [y/N] ")
        terminal.press("n\n")
        status = terminal.end()

    assert status == 1
    assert f"Shard 0 of north at {fleet.shards[0]} has 0 streams." in terminal.text
    assert "constellation: not drained" in terminal.text
    assert ask("status").status == 0


@pytest.mark.parametrize(
    ("program", "kind"), [("constellation", ShardConfig), ("federation", FederationConfig)]
)
def test_config_names_every_setting_and_where_it_comes_from(
    ask_alone: Asking, monkeypatch: pytest.MonkeyPatch, program: str, kind: type
) -> None:
    monkeypatch.setenv("REGION", "north")
    monkeypatch.setenv("SHARD_ADDRS", "127.0.0.1:1")
    monkeypatch.setenv("DATA_DIR", "data")

    told = ask_alone.json("config", program=program)["settings"]
    table = ask_alone("config", program=program)

    assert [each["name"] for each in told] == [each.name.upper() for each in fields(kind)]
    assert {each["name"]: each["source"] for each in told}["REGION"] == "environment"
    head, *rows = table.out.splitlines()
    assert head.split() == ["setting", "value", "from", "meaning"]
    assert len(rows) == len(told)  # nothing wraps where no terminal is
    assert all(each["meaning"] in row for each, row in zip(told, rows, strict=True))


def test_config_never_prints_a_secret(ask_alone: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_URL", "postgresql://me:hunter2@db/constellation")

    finished = ask_alone("config")

    assert finished.status == 0
    assert "hunter2" not in finished.out
    assert "set, not shown" in finished.out


def test_config_names_all_that_is_wrong(ask_alone: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRPC_ADDR", "nowhere")
    monkeypatch.setenv("MAX_DEVICES", "-1")

    finished = ask_alone("config")

    assert finished.status == 2
    assert finished.out == ""
    assert "GRPC_ADDR" in finished.err
    assert "MAX_DEVICES" in finished.err
