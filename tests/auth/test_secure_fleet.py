"""A fleet with everything on: TLS, tokens and roles, over real connections."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from constellation.auth.keys import make_key_ring, write_key_ring
from constellation.auth.principal import Role
from constellation.config import Count, Interval
from constellation.v1 import federation_pb2
from constellation.v1.federation_pb2_grpc import FederationServiceStub
from constellation_settop import CredentialError, Outbox, Sync, SyncSettings, TlsSettings
from tests.auth.callers import OWN, Keys, to_metadata
from tests.clients.samples import make_learned_changes
from tests.conftest import run_shard
from tests.deltas import device_id
from tests.federation.fleet import run_federation
from tests.scenarios.processes import run_command
from tests.servers import run_subprocess
from tests.sync_client import open_stream
from tests.tls import Certificate, make_certificate

if TYPE_CHECKING:
    from pathlib import Path

    from constellation.server import RunningShard


@dataclass(frozen=True)
class Fleet:
    """What the processes of a secure fleet share."""

    folder: Path
    keys: Keys
    certificate: Certificate

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "tls_cert": self.certificate.cert,
            "tls_key": self.certificate.key,
            "token_keys": self.keys.path,
        }

    def write_token(self, *roles: Role) -> Path:
        path = self.folder / "-".join(roles)
        path.write_text(f"{self.keys.issue(*roles)}\n", encoding="ascii")
        return path

    def make_sync_settings(self, token: str | None) -> SyncSettings:
        authorities = self.certificate.cert.read_bytes()
        return SyncSettings(
            backoff_base_seconds=0.02,
            backoff_cap_seconds=0.1,
            credential=token,
            tls=TlsSettings(root_certificates=authorities),
        )


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path, Keys.make(tmp_path), make_certificate(tmp_path, "localhost"))


def get_address(shard: RunningShard) -> str:
    return f"localhost:{shard.port}"  # the name in the certificate


async def push(fleet: Fleet, shard: RunningShard, device: bytes, token: str | None) -> None:
    with Outbox.open(":memory:", device) as outbox:
        outbox.append(make_learned_changes(1))
        async with Sync.open(get_address(shard), outbox, fleet.make_sync_settings(token)) as sync:
            await sync.flush(3)


async def test_a_device_syncs_with_its_own_token_and_with_no_other(fleet: Fleet) -> None:
    async with run_shard(**fleet.settings) as shard:
        await push(fleet, shard, OWN, fleet.keys.issue(Role.DEVICE))
        with pytest.raises(CredentialError, match="is not the device that the message names"):
            await push(fleet, shard, device_id(2), fleet.keys.issue(Role.DEVICE))
        with pytest.raises(CredentialError, match="needs the role device; this token has operator"):
            await push(fleet, shard, OWN, fleet.keys.issue(Role.OPERATOR, subject=OWN.hex()))
        with pytest.raises(CredentialError, match="needs a token"):
            await push(fleet, shard, OWN, None)

        assert shard.manager.table.totals.devices == 1


async def test_a_stream_ends_when_the_token_of_its_device_expires(fleet: Fleet) -> None:
    token = fleet.keys.issue(Role.DEVICE, seconds=-28)  # accepted for 30 s more
    async with (
        run_shard(token_keys=fleet.keys.path, heartbeat_seconds=Interval(30)) as shard,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel,
        open_stream(channel, metadata=to_metadata(token)) as stream,
    ):
        await stream.open(1)

        assert await stream.wait_for_status() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_stream_ends_when_the_key_of_its_token_is_revoked(fleet: Fleet) -> None:
    async with (
        run_shard(token_keys=fleet.keys.path, heartbeat_seconds=Interval(30)) as shard,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel,
        open_stream(channel, metadata=to_metadata(fleet.keys.issue(Role.DEVICE))) as stream,
    ):
        await stream.open(1)
        write_key_ring(fleet.keys.path, make_key_ring(), is_new=False)

        assert await stream.wait_for_status() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_shard_with_a_certificate_speaks_to_nobody_in_clear_text(fleet: Fleet) -> None:
    async with (
        run_shard(**fleet.settings) as shard,
        grpc.aio.insecure_channel(get_address(shard)) as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await FederationServiceStub(channel).GetRound(
                federation_pb2.GetRoundRequest(), timeout=5
            )

        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_renewed_certificate_needs_no_restart(fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    renewed = make_certificate(tmp_path / "new", "localhost")
    async with run_shard(**fleet.settings) as shard:

        def fetch() -> str:
            return ssl.get_server_certificate(("localhost", shard.port))

        before = await asyncio.to_thread(fetch)
        shutil.copy(renewed.key, fleet.certificate.key)  # for a moment, the two do not match
        between = await asyncio.to_thread(fetch)
        shutil.copy(renewed.cert, fleet.certificate.cert)
        after = await asyncio.to_thread(fetch)

    assert before == between
    assert after == renewed.cert.read_text(encoding="ascii")
    assert after != before


async def test_a_federation_runs_a_round_with_its_token(fleet: Fleet) -> None:
    security = {"tls_ca": fleet.certificate.cert, "token_file": fleet.write_token(Role.FEDERATION)}
    async with (
        run_shard(**fleet.settings) as shard,
        run_federation(
            [get_address(shard)], min_shards=Count(1), **fleet.settings, **security
        ) as federation,
        grpc.aio.secure_channel(
            f"localhost:{federation.port}",
            grpc.ssl_channel_credentials(fleet.certificate.cert.read_bytes()),
        ) as channel,
    ):
        operator = to_metadata(fleet.keys.issue(Role.OPERATOR))
        answer = await FederationServiceStub(channel).RunRound(
            federation_pb2.RunRoundRequest(), metadata=operator
        )

        assert answer.round.state == federation_pb2.ROUND_STATE_PUBLISHED
        assert shard.manager.global_state.published is not None


async def test_a_command_presents_the_token_of_its_file(fleet: Fleet) -> None:
    async with run_shard(**fleet.settings) as shard:
        flags = ["--address", get_address(shard), "--ca", str(fleet.certificate.cert)]
        token = ["--token-file", str(fleet.write_token(Role.VIEWER))]

        def run(*arguments: str, **settings: Any) -> Any:
            return run_subprocess("constellation", *arguments, *flags, **settings)

        without = await asyncio.to_thread(run, "trends")
        viewed = await asyncio.to_thread(run, "trends", *token)
        by_variable = await asyncio.to_thread(
            run, "trends", token_file=fleet.write_token(Role.VIEWER)
        )
        denied = await asyncio.to_thread(run, "devices", *token)

    assert (without.status, viewed.status, by_variable.status, denied.status) == (1, 0, 0, 1)
    assert "needs a token" in without.err
    assert "ListDevices needs the role operator; this token has viewer" in denied.err


def test_a_command_sends_no_token_in_clear_text(fleet: Fleet) -> None:
    token = str(fleet.write_token(Role.VIEWER))

    finished = run_subprocess(
        "constellation", "trends", "--address", "shard.example:1", "--token-file", token
    )

    assert finished.status == 2
    assert finished.err == (
        f"constellation: the token in {token} would go to shard.example:1 in clear text: "
        "give --tls or --ca\n"
    )


@pytest.mark.parametrize("program", [("constellation", "serve"), ("federation", "run")])
def test_a_process_without_certificate_and_keys_says_what_is_missing(
    program: tuple[str, str],
) -> None:
    finished = run_subprocess(*program, insecure=0, shard_addrs="127.0.0.1:1")

    assert finished.status == 2
    assert finished.err.splitlines()[-1] == (
        f"{program[0]}: TLS_CERT and TLS_KEY are unset: gRPC is in clear text; "
        "TOKEN_KEYS is unset: everybody may call everything. "
        "Set them (docs/security.md), or INSECURE=1 to start without"
    )


async def test_a_wrong_pair_of_certificate_and_key_is_named(fleet: Fleet, tmp_path: Path) -> None:
    other = make_certificate(tmp_path, "other")
    pairs = {
        "is not the key of the certificate": (fleet.certificate.cert, other.key),
        "is no PEM file": (fleet.keys.path, fleet.certificate.key),
        "cannot read": (tmp_path / "none.pem", fleet.certificate.key),
    }
    for problem, (cert, key) in pairs.items():
        finished = await run_command(
            "serve", grpc_addr="127.0.0.1:0", insecure=1, tls_cert=cert, tls_key=key
        )
        assert finished.status == 2
        assert problem in finished.err
        assert "Traceback" not in finished.err


@pytest.mark.parametrize("program", [("constellation", "serve"), ("federation", "run")])
def test_a_wrong_file_of_keys_is_named_with_its_setting(
    program: tuple[str, str], tmp_path: Path
) -> None:
    missing = tmp_path / "none.json"
    finished = run_subprocess(
        *program, grpc_addr="127.0.0.1:0", shard_addrs="127.0.0.1:1", token_keys=missing
    )

    assert finished.status == 2
    assert finished.err.splitlines()[-1] == (
        f"{program[0]}: TOKEN_KEYS: cannot read the keys {missing}: No such file or directory; "
        "`constellation keys new` makes such a file"
    )
