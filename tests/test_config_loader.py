"""The loader of settings reads every variable, and names every wrong one."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import pytest

from constellation.config import NonNegative, ShardConfig
from constellation.config_loader import load_config
from constellation.errors import ConfigError
from federation.config import FederationConfig
from tests.scenarios.processes import run_command

if TYPE_CHECKING:
    from pathlib import Path

INVALID_VALUES = {
    "GRPC_ADDR": ("nowhere", "must be host:port with a port from 0 to 65535, got 'nowhere'"),
    "DRAIN_SECONDS": ("-1", "must be from 0 to 2147483647, got -1"),
    "HEARTBEAT_SECONDS": ("0", "must be from 0.001 to 2147483647, got 0"),
    "K_ANONYMITY": ("five", "must be a whole number, got 'five'"),
    "LOG_LEVEL": ("loud", "must be one of debug, info, warning, error, got 'loud'"),
    "MAX_DEVICES": ("-3", "must be from 1 to 2147483647, got -3"),
    "MAX_STREAMS": ("0", "must be from 1 to 1073741824, got 0"),
    "QUALITY_THRESHOLD": ("2", "must be from 0 to 1, got 2"),
    "SHARE_THRESHOLD": ("nan", "must be from 0 to 1, got nan"),
    "SNAPSHOT_SECONDS": ("soon", "must be a number, got 'soon'"),
}


async def test_all_wrong_variables_are_reported_together(tmp_path: Path) -> None:
    wrong = {name.lower(): value for name, (value, _) in INVALID_VALUES.items()}

    finished = await run_command("serve", data_dir=tmp_path / "shard", **wrong)

    assert finished.status == 2
    for name, (_, problem) in INVALID_VALUES.items():
        assert f"{name}: {problem}" in finished.err
    assert "Traceback" not in finished.err
    assert not (tmp_path / "shard").exists()


def test_an_empty_variable_is_an_unset_one() -> None:
    empty = {each.name.upper(): "" for each in fields(ShardConfig)}

    assert load_config(ShardConfig, empty) == ShardConfig()


def test_a_variable_of_the_same_name_sets_each_field() -> None:
    env = {"MAX_STREAMS": "7", "REGION": "north", "SHARD_MAP": "0=a:1,1=b:2", "LOG_LEVEL": "Debug"}

    config = load_config(ShardConfig, env)

    assert (config.max_streams, config.region, config.log_level) == (7, "north", "debug")
    assert config.shard_map == {0: "a:1", 1: "b:2"}


@pytest.mark.parametrize("text", ["0", "0=", "0=a:0", "x=a:1", "0=a:1,0=b:2"])
def test_a_malformed_shard_map_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="SHARD_MAP: "):
        load_config(ShardConfig, {"SHARD_MAP": text})


@pytest.mark.parametrize("text", ["a", "a:", ":1", "a:65536", "a:-1", "a:x", "a:²", "a:٣"])
def test_a_malformed_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="GRPC_ADDR: must be host:port with a port from 0 to"):
        load_config(ShardConfig, {"GRPC_ADDR": text})


@pytest.mark.parametrize("text", [",", "nowhere", "a:1,a:1", "a:1,b"])
def test_malformed_addresses_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="SHARD_ADDRS"):
        load_config(FederationConfig, {"SHARD_ADDRS": text})


def test_addresses_are_read_in_order() -> None:
    config = load_config(FederationConfig, {"SHARD_ADDRS": " b:2, a:1 ", "TREND_SURPRISE": "0"})

    assert config.shard_addrs == ("b:2", "a:1")
    assert config.trend_surprise == NonNegative(0)
