from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import pytest

from constellation.cli.config import read_settings
from constellation.config import ShardConfig
from federation.config import FederationConfig

if TYPE_CHECKING:
    from tests.command_line import CommandLine


@pytest.mark.parametrize(
    ("program", "kind"), [("constellation", ShardConfig), ("federation", FederationConfig)]
)
def test_config_names_every_setting_and_where_it_comes_from(
    unconfigured_cli: CommandLine, monkeypatch: pytest.MonkeyPatch, program: str, kind: type
) -> None:
    monkeypatch.setenv("REGION", "north")
    monkeypatch.setenv("SHARD_ADDRS", "127.0.0.1:1")
    monkeypatch.setenv("DATA_DIR", "data")

    document = unconfigured_cli.run_json("config", program=program)["settings"]
    table = unconfigured_cli("config", program=program)

    assert [each["name"] for each in document] == [each.name.upper() for each in fields(kind)]
    assert {each["name"]: each["source"] for each in document}["REGION"] == "environment"
    head, *rows = table.out.splitlines()
    assert head.split() == ["setting", "value", "from", "meaning"]
    assert len(rows) == len(document)  # nothing wraps where no terminal is
    assert all(each["meaning"] in row for each, row in zip(document, rows, strict=True))


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


def test_a_setting_says_whether_it_comes_from_the_environment() -> None:
    settings = {each.name: each for each in read_settings(ShardConfig, {"REGION": "north"})}

    assert (settings["REGION"].value, settings["REGION"].is_from_environment) == ("north", True)
    assert settings["SHARD_ID"].value == "0"
    assert not settings["SHARD_ID"].is_from_environment


def test_values_are_printed_as_the_variables_are_written() -> None:
    env = {
        "SHARD_MAP": "1=b:2, 0=a:1",
        "MIGRATE_ON_START": "1",
        "QUALITY_THRESHOLD": "0.50",
        "TRUSTED_PROXIES": "10.0.0.0/8, fc00::/7",
    }

    settings = {each.name: each.value for each in read_settings(ShardConfig, env)}

    assert settings["SHARD_MAP"] == "0=a:1,1=b:2"
    assert settings["MIGRATE_ON_START"] == "1"
    assert settings["QUALITY_THRESHOLD"] == "0.5"
    assert settings["TRUSTED_PROXIES"] == "10.0.0.0/8,fc00::/7"
    assert settings["DATA_DIR"] == "unset"


def test_a_secret_is_not_shown_and_an_unset_one_is_unset() -> None:
    env = {"POSTGRES_URL": "postgresql://me:hunter2@db/shards"}

    (given,) = [each for each in read_settings(ShardConfig, env) if each.is_secret]
    (absent,) = [each for each in read_settings(ShardConfig, {}) if each.is_secret]

    assert (given.name, given.value) == ("POSTGRES_URL", "set, not shown")
    assert absent.value == "unset"
