"""Devices that enrol by themselves, stay connected beyond a token, and are revoked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from constellation.auth.keys import make_key_ring, write_key_ring
from constellation.auth.principal import Role
from constellation.auth.revocations import append_revoked
from constellation.config import Interval
from constellation.v1 import sync_pb2 as pb
from constellation_settop import (
    CredentialError,
    Device,
    DeviceIdentity,
    DeviceSettings,
    InvalidArgumentError,
    Outbox,
    Sync,
    SyncSettings,
    TlsSettings,
)
from constellation_settop.network import identity as identity_module
from tests.auth.callers import OWN, Keys, to_metadata
from tests.auth.devices import Television, Vendor
from tests.clients.samples import make_catalogue, make_learned_changes
from tests.conftest import run_shard
from tests.deltas import PatternSpec, device_id
from tests.polling import wait_until
from tests.sync_client import open_stream
from tests.tls import Certificate, make_certificate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from constellation.server import RunningShard


class Fleet:
    """Shards that admit the devices of one vendor."""

    def __init__(self, folder: Path) -> None:
        self.keys = Keys.make(folder)
        self.vendor = Vendor.make(folder)
        self.certificate: Certificate = make_certificate(folder, "localhost")
        self.revoked = folder / "revoked.txt"

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "tls_cert": self.certificate.cert,
            "tls_key": self.certificate.key,
            "token_keys": self.keys.path,
            "vendor_keys": self.vendor.public,
            "revoked_devices": self.revoked,
        }

    def make_sync_settings(
        self,
        television: Television,
        claim: str = "",
        sign: Callable[[bytes], bytes] | None = None,
    ) -> SyncSettings:
        claim = claim or television.get_claim(self.vendor)
        return SyncSettings(
            backoff_base_seconds=0.02,
            backoff_cap_seconds=0.1,
            identity=DeviceIdentity(claim=claim, sign=sign or television.key.sign),
            tls=TlsSettings(root_certificates=self.certificate.cert.read_bytes()),
        )


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


def get_address(shard: RunningShard) -> str:
    return f"localhost:{shard.port}"  # the name in the certificate


async def test_a_device_needs_its_claim_and_its_key_alone(fleet: Fleet) -> None:
    television = Television()
    async with run_shard(**fleet.settings) as shard:
        with Outbox.open(":memory:", television.device_id) as outbox:
            outbox.append(make_learned_changes(1))
            settings = fleet.make_sync_settings(television)
            async with Sync.open(get_address(shard), outbox, settings) as sync:
                await sync.flush(5)

        assert shard.manager.find_cursor(television.device_id) is not None


async def test_a_device_of_another_vendor_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    television = Television()
    claim = television.get_claim(Vendor.make(tmp_path, "other"))
    async with run_shard(**fleet.settings) as shard:
        with Outbox.open(":memory:", television.device_id) as outbox:
            outbox.append(make_learned_changes(1))
            settings = fleet.make_sync_settings(television, claim)
            async with Sync.open(get_address(shard), outbox, settings) as sync:
                with pytest.raises(CredentialError, match="no key of this process verifies"):
                    await sync.flush(1)


async def test_a_connected_device_gets_the_next_token_before_one_expires(fleet: Fleet) -> None:
    television = Television()
    third_token = asyncio.Event()
    signatures = 0

    def sign(message: bytes) -> bytes:
        nonlocal signatures
        signatures += 1
        if signatures == 3:
            third_token.set()
        return television.key.sign(message)

    settings = fleet.make_sync_settings(television, sign=sign)
    async with run_shard(**fleet.settings, device_token_seconds=Interval(1)) as shard:
        with Outbox.open(":memory:", television.device_id) as outbox:
            outbox.append(make_learned_changes(1))
            async with Sync.open(get_address(shard), outbox, settings) as sync:
                await sync.flush(5)
                async with asyncio.timeout(10):
                    await third_token.wait()
                outbox.append(make_learned_changes(2))
                await sync.flush(5)
                assert sync.is_connected


async def test_a_renewed_stream_outlives_the_token_that_opened_it(fleet: Fleet) -> None:
    short = to_metadata(fleet.keys.issue(Role.DEVICE, seconds=-28))  # accepted for 30 s more
    other = to_metadata(fleet.keys.issue(Role.DEVICE, seconds=-28, subject=device_id(2).hex()))
    async with (
        run_shard(token_keys=fleet.keys.path, heartbeat_seconds=Interval(30)) as shard,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel,
        open_stream(channel, metadata=short) as renewed,
        open_stream(channel, metadata=other) as expiring,
    ):
        await renewed.open(1)
        await expiring.open(2)

        await renewed.send(renewal=pb.Renewal(token=fleet.keys.issue(Role.DEVICE)))

        assert await expiring.wait_for_status() is grpc.StatusCode.UNAUTHENTICATED
        assert (await renewed.push(1, [PatternSpec(1)])).through_seq == 1


async def test_a_token_of_somebody_else_renews_nothing(fleet: Fleet) -> None:
    async with (
        run_shard(token_keys=fleet.keys.path, heartbeat_seconds=Interval(30)) as shard,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel,
    ):
        for token, status in (
            (fleet.keys.issue(Role.DEVICE), None),
            (fleet.keys.issue(Role.DEVICE, subject=device_id(2).hex()), "PERMISSION_DENIED"),
            (fleet.keys.issue(Role.OPERATOR, subject=OWN.hex()), "PERMISSION_DENIED"),
            ("no token", "UNAUTHENTICATED"),
        ):
            metadata = to_metadata(fleet.keys.issue(Role.DEVICE))
            async with open_stream(channel, metadata=metadata) as stream:
                await stream.open(1)
                await stream.send(renewal=pb.Renewal(token=token))
                if status is None:
                    await stream.push(1, [PatternSpec(1)])
                else:
                    assert (await stream.wait_for_status()).name == status


async def test_a_revoked_device_is_cut_off_within_seconds_and_stays_out(fleet: Fleet) -> None:
    television = Television()
    async with run_shard(**fleet.settings, heartbeat_seconds=Interval(30)) as shard:
        with Outbox.open(":memory:", television.device_id) as outbox:
            settings = fleet.make_sync_settings(television)
            async with Sync.open(get_address(shard), outbox, settings) as sync:

                async def is_refused() -> bool:
                    return sync.is_credential_refused

                outbox.append(make_learned_changes(1))
                await sync.flush(5)

                append_revoked(fleet.revoked, television.device_id, "stolen")

                async with asyncio.timeout(3.5):
                    await wait_until(is_refused)
                outbox.append(make_learned_changes(2))
                with pytest.raises(CredentialError, match="this device was revoked"):
                    await sync.flush(0.5)


async def test_a_shard_without_vendors_says_so(fleet: Fleet) -> None:
    television = Television()
    settings = {**fleet.settings, "vendor_keys": None}
    async with run_shard(**settings) as shard:
        with Outbox.open(":memory:", television.device_id) as outbox:
            outbox.append(make_learned_changes(1))
            sync_settings = fleet.make_sync_settings(television)
            async with Sync.open(get_address(shard), outbox, sync_settings) as sync:
                with pytest.raises(Exception, match="VENDOR_KEYS is unset"):
                    await sync.flush(0.5)


async def test_a_secure_element_that_fails_is_a_failed_attempt(fleet: Fleet) -> None:
    television = Television()
    attempts = 0

    def sign(message: bytes) -> bytes:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise RuntimeError("the element is busy")
        return television.key.sign(message)

    settings = fleet.make_sync_settings(television, sign=sign)
    async with run_shard(**fleet.settings) as shard:
        with Outbox.open(":memory:", television.device_id) as outbox:
            outbox.append(make_learned_changes(1))
            async with Sync.open(get_address(shard), outbox, settings) as sync:
                await sync.flush(5)
    assert attempts == 3


def test_an_identity_comes_from_files(fleet: Fleet, tmp_path: Path) -> None:
    television = Television()
    (tmp_path / "device.claim").write_text(television.get_claim(fleet.vendor), encoding="ascii")
    (tmp_path / "device.key").write_bytes(television.to_pem())
    (tmp_path / "device.key").chmod(0o600)

    identity = DeviceIdentity.from_files(tmp_path / "device.claim", tmp_path / "device.key")

    assert identity.device_id == television.device_id
    assert television.sign("x") == identity.sign(identity_module.PROOF_PREFIX + b"x")
    assert identity.claim not in repr(identity)
    with pytest.raises(InvalidArgumentError, match="cannot read"):
        DeviceIdentity.from_files(tmp_path / "device.claim", tmp_path / "missing")


def test_a_device_has_either_a_credential_or_an_identity(fleet: Fleet) -> None:
    identity = fleet.make_sync_settings(Television()).identity

    with pytest.raises(InvalidArgumentError, match="must not be given together"):
        SyncSettings(credential="secret", identity=identity)


async def test_the_file_of_a_device_gets_the_id_of_its_claim(fleet: Fleet, tmp_path: Path) -> None:
    television = Television()
    settings = DeviceSettings(sync=fleet.make_sync_settings(television))

    async with Device.open(
        "127.0.0.1:1", data_dir=tmp_path, catalogue=make_catalogue(), settings=settings
    ) as device:
        assert device.outbox.device_id == television.device_id


async def test_a_wrong_ring_of_vendors_is_named_at_the_start(fleet: Fleet, tmp_path: Path) -> None:
    path = tmp_path / "private.json"
    write_key_ring(path, make_key_ring("EdDSA"), is_new=True)

    with pytest.raises(Exception, match=r"VENDOR_KEYS: .* can sign, and only public keys belong"):
        async with run_shard(**{**fleet.settings, "vendor_keys": path}):
            pass
