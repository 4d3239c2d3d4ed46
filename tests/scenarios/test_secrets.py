"""What a secure shard prints, measures, traces and answers has no secret and no device in it."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any
from uuid import UUID

import grpc
import httpx
import pytest

from constellation.auth.principal import Role
from constellation.v1 import (
    process_pb2,
    process_pb2_grpc,
    shard_pb2,
    shard_pb2_grpc,
    sync_pb2,
    sync_pb2_grpc,
)
from constellation_settop import DeviceIdentity, Outbox, Sync, SyncSettings, TlsSettings
from tests.auth.callers import Keys, to_metadata
from tests.auth.devices import Television, Vendor
from tests.clients.samples import make_learned_changes
from tests.scenarios.otlp import run_collector
from tests.scenarios.processes import ShardProcess, start_shard_process, wait_for_event
from tests.sync_client import open_stream
from tests.tls import make_certificate

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


async def test_nothing_of_a_secret_leaves_a_shard(tmp_path: Path) -> None:
    keys, vendor = Keys.make(tmp_path), Vendor.make(tmp_path)
    certificate = make_certificate(tmp_path, "localhost")
    television = Television()
    claim = television.get_claim(vendor)
    tokens = [keys.issue(Role.OPERATOR), keys.issue(Role.DEVICE), keys.issue(Role.VIEWER)]
    said: list[str] = []
    async with run_collector() as collector:
        process = await start_shard_process(
            data_dir=tmp_path / "shard",
            tls_cert=certificate.cert,
            tls_key=certificate.key,
            token_keys=keys.path,
            vendor_keys=vendor.public,
            insecure=0,
            **collector.make_settings(
                otel_traces_sampler="always_on", otel_bsp_schedule_delay="50"
            ),
        )
        shard = ShardProcess(process, 0)
        started = await wait_for_event(process, "shard_started")
        authorities = certificate.cert.read_bytes()
        address = f"localhost:{started['port']}"
        credentials = grpc.ssl_channel_credentials(authorities)
        async with grpc.aio.secure_channel(address, credentials) as channel:
            said += await set_debug(channel, tokens[0])
            await sync(address, television, claim, authorities)
            said += await provoke(channel, tokens, television.device_id, claim)
        async with httpx.AsyncClient(trust_env=False) as client:
            metrics = await client.get(f"http://127.0.0.1:{started['metrics_port']}/metrics")
            rest = await client.get(
                f"http://127.0.0.1:{started['rest_port']}/api/v1/stats",
                headers={"authorization": f"Bearer {tokens[1]}"},
            )
        process.terminate()
        result = await shard.wait_for_exit()
        said += [result.out, result.err, metrics.text, rest.text]
        said += [str(span.message) for span in collector.spans]

    assert rest.status_code == 403
    assert "household_read" in result.err
    assert len(collector.spans) > 5
    own = television.device_id
    wanted = {
        *tokens, claim, own.hex(), str(UUID(bytes=own)), base64.b64encode(own).decode(),
        repr(own)[2:-1], *(key.fields["k"] for key in keys.ring.keys),
        television.to_pem().decode().splitlines()[1],
    }  # fmt: skip
    text = "\n".join(said)
    assert [each[:12] for each in wanted if each in text] == []


async def set_debug(channel: grpc.aio.Channel, token: str) -> list[str]:
    """Let the shard log everything."""
    request = process_pb2.SetLogLevelRequest(level=process_pb2.LOG_LEVEL_DEBUG)
    stub = process_pb2_grpc.ProcessServiceStub(channel)
    return [str(await stub.SetLogLevel(request, metadata=to_metadata(token)))]


async def sync(address: str, television: Television, claim: str, authorities: bytes) -> None:
    """Let an enrolled device sync: it gets a token, and sends patterns with embeddings."""
    settings = SyncSettings(
        identity=DeviceIdentity(claim=claim, sign=television.key.sign),
        tls=TlsSettings(root_certificates=authorities),
    )
    with Outbox.open(":memory:", television.device_id) as outbox:
        outbox.append(make_learned_changes(1, 2, 3))
        async with Sync.open(address, outbox, settings) as running:
            await running.flush(15)


async def provoke(
    channel: grpc.aio.Channel, tokens: Sequence[str], device: bytes, claim: str
) -> list[str]:
    """Make every kind of refusal, and an operator's reads; return what the refusals say."""
    operator, other, viewer = tokens
    shard = shard_pb2_grpc.ShardServiceStub(channel)
    devices = sync_pb2_grpc.SyncServiceStub(channel)
    asked = shard_pb2.GetDeviceRequest(device_id=device)
    await shard.GetDevice(asked, metadata=to_metadata(operator))
    version = sync_pb2.GetSyncVersionRequest(device_id=device)
    refused: list[Any] = [
        shard.GetDevice(asked, metadata=to_metadata(viewer)),
        shard.GetDevice(asked, metadata=to_metadata(operator + "x")),
        shard.GetDevice(asked, metadata=to_metadata(claim)),
        devices.GetSyncVersion(version, metadata=to_metadata(other)),
        devices.GetSyncVersion(version),
    ]
    said = []
    for call in refused:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call
        said.append(f"{raised.value.details()} {raised.value.trailing_metadata()}")
    async with open_stream(channel, metadata=to_metadata(other)) as stream:
        await stream.send(hello=sync_pb2.Hello(device_id=device, incarnation=1))
        await stream.wait_for_status()
        said.append(str(await stream.call.details()))
    return said
