from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest

from constellation.cli.misspelt import MisspeltSetting, find_misspelt
from constellation.config import ShardConfig
from federation.config import FederationConfig
from tests.servers import run_subprocess

if TYPE_CHECKING:
    from tests.command_line import CommandLine


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("GRPC_ADRR", "GRPC_ADDR"),
        ("GPRC_ADDR", "GRPC_ADDR"),
        ("GRPC_ADDRESS", "GRPC_ADDR"),
        ("grpc_addr", "GRPC_ADDR"),
        ("GRPCADDR", "GRPC_ADDR"),
        ("CONSTELLATION_GRPC_ADDR", "GRPC_ADDR"),
        ("HEARTBEAT_SECS", "HEARTBEAT_SECONDS"),
        ("DATA_DIRECTORY", "DATA_DIR"),
        ("MAX_DEVICE", "MAX_DEVICES"),
        ("POSTGRES_URI", "POSTGRES_URL"),
        ("REGIONS", "REGION"),
    ],
)
def test_a_name_that_resembles_a_setting_is_found(name: str, meant: str) -> None:
    assert find_misspelt(ShardConfig, {name: "1"}) == [MisspeltSetting(name, meant)]


@pytest.mark.parametrize(
    "name",
    [
        *("PATH", "HOME", "DELAY", "AWS_REGION", "XDG_DATA_DIRS", "POSTGRES_USER", "POSTGRES_DB"),
        *("POSTGRES_PASSWORD", "TEST_POSTGRES_URL", "OTEL_LOG_LEVEL", "GRPC_VERBOSITY"),
        *("GRPC_TRACE", "CONSTELLATION_SERVICE_HOST", "CONSTELLATION_PORT_8080_TCP_ADDR"),
    ],
)
@pytest.mark.parametrize("kind", [ShardConfig, FederationConfig])
def test_other_names_are_left_alone(name: str, kind: type[Any]) -> None:
    assert find_misspelt(kind, {name: "1"}) == []


def test_the_settings_of_one_program_do_not_look_like_those_of_the_other() -> None:
    kinds = (ShardConfig, FederationConfig)
    env = {each.name.upper(): "1" for kind in kinds for each in fields(kind)}

    assert [find_misspelt(kind, env) for kind in kinds] == [[], []]


def test_config_names_what_looks_like_a_setting(
    unconfigured_cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRPC_ADRR", "127.0.0.1:1")

    shown, document = unconfigured_cli("config"), unconfigured_cli("config", "--json")

    warning = "constellation: GRPC_ADRR is not a setting: did you mean GRPC_ADDR?\n"
    assert (shown.status, shown.err) == (0, warning)
    assert (document.status, document.err) == (0, warning)


@pytest.mark.parametrize(
    ("command", "settings"),
    [
        (("constellation", "check"), {}),
        (("federation", "round", "--once"), {"shard_addrs": "127.0.0.1:1"}),
    ],
)
def test_a_start_logs_what_looks_like_a_setting_without_its_value(
    command: tuple[str, ...], settings: dict[str, str]
) -> None:
    finished = run_subprocess(*command, postgres_uri="postgresql://secret", **settings)

    assert '"problem": "POSTGRES_URI is not a setting: did you mean POSTGRES_URL?"' in finished.err
    assert '"event": "unknown_setting"' in finished.err
    assert "secret" not in finished.err
