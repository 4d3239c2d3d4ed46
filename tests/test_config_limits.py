"""Whatever number a setting is given, it is refused at the start or everything works with it."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, get_type_hints

import grpc
import pytest

from constellation.config import ShardConfig, get_range
from constellation.config_loader import load_config
from constellation.errors import ConfigError, ConstellationError
from constellation.server import serve
from constellation.v1 import federation_pb2, shard_pb2, sync_pb2_grpc
from constellation.v1.federation_pb2_grpc import FederationServiceStub
from constellation.v1.shard_pb2_grpc import ShardServiceStub
from federation.config import FederationConfig
from federation.server import serve as serve_federation
from testing.ports import find_free_address
from tests.scenarios.processes import COMMAND_DIR
from tests.servers import run_subprocess
from tests.sync_client import make_delta_message, make_pull, open_stream

if TYPE_CHECKING:
    from pathlib import Path

EXTREMES = (2**31, 2**32, 2**63, 2**64, "1e300", "nan", "inf", -1, "9" * 5000)
FILES = (
    "DATA_DIR", "POSTGRES_URL", "TLS_CERT", "TLS_KEY", "TLS_CA", "TOKEN_KEYS", "TOKEN_FILE",
    "CLIENT_CA", "VENDOR_KEYS", "GLOBAL_KEYS", "SIGNING_KEYS", "REVOKED_DEVICES",
)  # fmt: skip
"""Settings whose values are seen to be wrong only when they are used."""
KINDS: tuple[type[Any], ...] = (ShardConfig, FederationConfig)
PORTS = dict.fromkeys(("GRPC_ADDR", "REST_ADDR", "METRICS_ADDR"), "127.0.0.1:0")
QUIET = {"DRAIN_SECONDS": "0"}
"""A test does not wait for as long as the setting may be."""

TOO_FAST_FOR_A_TEST = {
    "HEARTBEAT_SECONDS": "60",
    "SLOW_READER_SECONDS": "60",
    "STREAM_SECONDS": "3000",
    "POSTGRES_TIMEOUT_SECONDS": "10",
    "LEASE_SECONDS": "15",
}
"""In place of a millisecond, in which no device and no database answers."""


def find_ranges(kind: type[Any]) -> dict[str, tuple[float, float]]:
    """Return the least and the most of each number among the settings."""
    hints = get_type_hints(kind)
    ranges = {each.name.upper(): get_range(hints[each.name], each) for each in fields(kind)}
    return {name: limits for name, limits in ranges.items() if limits}


async def try_shard(env: dict[str, str], postgres_url: str | None = None) -> None:
    """Start a shard, call what gives out its settings, and let a device sync."""
    stored_in = {"POSTGRES_URL": postgres_url} if postgres_url else {}
    config = load_config(ShardConfig, {**PORTS, **env, **QUIET, **stored_in})
    async with (
        serve(config) as shard,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel,
    ):
        stub: Any = ShardServiceStub(channel)
        await stub.GetInfo(shard_pb2.GetInfoRequest())
        await stub.GetStats(shard_pb2.GetStatsRequest())
        calls: Any = sync_pb2_grpc.SyncServiceStub(channel)
        await calls.Exchange(make_pull(1))
        async with open_stream(channel) as device:
            await device.open(1)
            await device.send(delta=make_delta_message(1))
            assert (await device.expect("delta_ack")).through_seq == 1
        await shard.manager.lifetimes.expire(config.device_ttl_days * 86_400.0, 0.0)


async def try_federation(env: dict[str, str]) -> None:
    """Start a federation whose one shard is away, and ask it for its rounds."""
    config = load_config(
        FederationConfig, {**PORTS, "SHARD_ADDRS": find_free_address(), **env, **QUIET}
    )
    async with (
        serve_federation(config) as federation,
        grpc.aio.insecure_channel(f"127.0.0.1:{federation.port}") as channel,
    ):
        await federation.rounds.became_active.wait()
        stub: Any = FederationServiceStub(channel)
        await stub.ListRounds(federation_pb2.ListRoundsRequest())


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, each.name.upper()) for kind in KINDS for each in fields(kind)],
)
async def test_no_extreme_ends_in_a_traceback(
    kind: type[Any], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # DATA_DIR=inf is a directory
    for extreme in EXTREMES:
        env = {name: str(extreme)}
        try:
            load_config(kind, env)
        except ConfigError as error:
            assert str(error).startswith(f"{name}: ")  # noqa: PT017 - most are refused
            continue
        try:
            await (try_shard(env) if kind is ShardConfig else try_federation(env))
        except* ConstellationError:
            assert name in FILES  # one line and a status


@pytest.mark.parametrize("place", [0, 1])
async def test_a_shard_serves_with_every_number_at_its_limit(
    place: int, postgres_url: str, tmp_path: Path
) -> None:
    env = {name: str(limits[place]) for name, limits in find_ranges(ShardConfig).items()}
    env |= {} if place else TOO_FAST_FOR_A_TEST
    await try_shard(env)
    await try_shard({**env, "DATA_DIR": str(tmp_path / "shard")})
    await try_shard(env, postgres_url)


@pytest.mark.parametrize("place", [0, 1])
async def test_a_federation_runs_with_every_number_at_its_limit(place: int, tmp_path: Path) -> None:
    await try_federation(
        {name: str(limits[place]) for name, limits in find_ranges(FederationConfig).items()}
        | {"DATA_DIR": str(tmp_path / "federation")}
    )


@pytest.mark.parametrize(
    ("command", "kind"),
    [(("constellation", "serve"), ShardConfig), (("federation", "run"), FederationConfig)],
)
def test_all_wrong_numbers_are_named_together_with_value_and_limit(
    command: tuple[str, ...], kind: type[Any]
) -> None:
    ranges = find_ranges(kind)

    ended = run_subprocess(*command, **{name.lower(): 2**64 for name in ranges})

    assert ended.status == 2
    assert "Traceback" not in ended.err
    for name, (least, most) in ranges.items():
        assert f"{name}: must be from {least} to {most}, got {2**64}" in ended.err


def test_too_little_address_space_is_named_with_what_asks_for_it() -> None:
    limited = "ulimit -v 6000000; exec {} serve".format(COMMAND_DIR / "constellation")

    ended = run_subprocess("/bin/sh", "-c", limited, max_patterns=2**31 - 1, **PORTS)

    assert ended.status == 2
    assert "lower MAX_PATTERNS or MAX_DEVICES" in ended.err
    assert "Traceback" not in ended.err
