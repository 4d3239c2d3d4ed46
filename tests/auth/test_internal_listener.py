"""Devices have a port of their own; federations and operators another, with certificates."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from constellation.auth.authority import issue_certificate, make_authority
from constellation.auth.methods import DEVICE_METHODS, METHOD_ROLES
from constellation.auth.principal import Role
from constellation.config import Address, Count
from constellation.errors import ConfigError
from constellation.placement import format_map
from constellation.shard_process import SERVICES
from constellation.transport.listener import COMMON_SERVICES
from constellation.v1 import shard_pb2, shard_pb2_grpc, sync_pb2_grpc
from testing.ports import find_free_address
from tests.auth.callers import Keys, call, list_methods, to_metadata
from tests.conftest import run_shard
from tests.deltas import PatternSpec
from tests.federation.fleet import run_federation
from tests.scenarios.processes import run_command
from tests.servers import run_subprocess
from tests.sync_client import make_delta_message, make_push, open_stream

if TYPE_CHECKING:
    from pathlib import Path

    from constellation.server import RunningShard

ANY_PORT = Address("127.0.0.1:0")


def get_internal(shard: RunningShard) -> str:
    return f"127.0.0.1:{shard.ports.internal}"


async def test_the_port_of_devices_serves_what_a_device_may_call_and_nothing_else() -> None:
    methods = list_methods([*SERVICES, *COMMON_SERVICES])
    async with (
        run_shard(internal_addr=ANY_PORT) as shard,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as devices,
        grpc.aio.insecure_channel(get_internal(shard)) as internal,
    ):
        for method in methods:
            served = await call(devices, method, None) is not grpc.StatusCode.UNIMPLEMENTED
            assert served is (method in DEVICE_METHODS), method
            if not method.endswith(("/Drain", "/GetCatalogue")):
                assert await call(internal, method, None) is not grpc.StatusCode.UNIMPLEMENTED
        reflection = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
        assert reflection in METHOD_ROLES
        assert await call(devices, reflection, None) is grpc.StatusCode.UNIMPLEMENTED
        probe: Any = health_pb2_grpc.HealthStub(devices)
        answer = await probe.Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_device_syncs_there_and_sends_no_large_message() -> None:
    async with (
        run_shard(internal_addr=ANY_PORT) as shard,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as devices,
        grpc.aio.insecure_channel(get_internal(shard)) as internal,
    ):
        async with open_stream(devices) as stream:
            await stream.open(1)
            assert (await stream.push(1, [PatternSpec(1)])).through_seq == 1
        request = make_push(2, make_delta_message(1, [PatternSpec(1)]))
        request.deltas[0].upserts.embeddings = bytes(257 << 10)
        for channel, status in (
            (devices, grpc.StatusCode.RESOURCE_EXHAUSTED),
            (internal, grpc.StatusCode.INVALID_ARGUMENT),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await sync_pb2_grpc.SyncServiceStub(channel).Exchange(request)
            assert refused.value.code() is status


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    for name in ("ours", "theirs"):
        make_authority(tmp_path / name, name, 2)
        issue_certificate(tmp_path / name, ["localhost", "127.0.0.1"], "node", 30)
    return tmp_path


def make_settings(pki: Path) -> dict[str, Any]:
    return {
        "internal_addr": ANY_PORT,
        "tls_cert": pki / "ours" / "node.pem",
        "tls_key": pki / "ours" / "node.key",
        "client_ca": pki / "ours" / "ca.pem",
    }


@pytest.mark.parametrize(
    ("client", "may_connect"), [("ours", True), ("theirs", False), (None, False)]
)
async def test_the_internal_port_asks_for_a_certificate(
    pki: Path, client: str | None, *, may_connect: bool
) -> None:
    authority = (pki / "ours" / "ca.pem").read_bytes()
    pair: tuple[bytes | None, bytes | None] = (None, None)
    if client is not None:
        pair = ((pki / client / "node.key").read_bytes(), (pki / client / "node.pem").read_bytes())
    credentials = grpc.ssl_channel_credentials(authority, *pair)
    async with run_shard(**make_settings(pki)) as shard:
        async with grpc.aio.secure_channel(get_internal(shard), credentials) as channel:
            stub = shard_pb2_grpc.ShardServiceStub(channel)
            if may_connect:
                await stub.GetInfo(shard_pb2.GetInfoRequest())
            else:
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await stub.GetInfo(shard_pb2.GetInfoRequest(), timeout=5)
                assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        only_server = grpc.ssl_channel_credentials(authority)
        async with grpc.aio.secure_channel(f"127.0.0.1:{shard.port}", only_server) as devices:
            stub = shard_pb2_grpc.ShardServiceStub(devices)
            await stub.ListShards(shard_pb2.ListShardsRequest())  # devices need none


async def test_a_federation_and_a_command_show_their_certificates(pki: Path) -> None:
    ours = pki / "ours"
    async with run_shard(**make_settings(pki)) as shard:
        address = get_internal(shard)
        async with run_federation(
            [address],
            min_shards=Count(1),
            tls_ca=ours / "ca.pem",
            tls_cert=ours / "node.pem",
            tls_key=ours / "node.key",
        ) as federation:
            await federation.rounds.request()
            assert federation.publisher.problems == {}
        assert shard.manager.global_state.published is not None

        flags = ["--ca", ours / "ca.pem", "--cert", ours / "node.pem", "--key", ours / "node.key"]
        shown = await asyncio.to_thread(
            run_subprocess, "constellation", "status", *map(str, flags), internal_addr=address
        )
    assert shown.status == 0, shown.err


async def test_a_client_ca_needs_the_port_that_asks_for_it(pki: Path) -> None:
    settings = {**make_settings(pki), "internal_addr": None}

    with pytest.raises(ConfigError, match="CLIENT_CA needs INTERNAL_ADDR, TLS_CERT and TLS_KEY"):
        async with run_shard(**settings):
            pass


async def test_commands_reach_every_shard_by_its_internal_address() -> None:
    """The shard map has the addresses of devices, where no operator's method is served."""
    internal = [Address(find_free_address()) for _ in range(2)]
    outside = {0: find_free_address(), 1: find_free_address()}
    settings: dict[str, Any] = {
        "shard_map": outside,
        "internal_shard_map": dict(enumerate(internal)),
    }
    async with (
        run_shard(shard_id=0, grpc_addr=Address(outside[0]), internal_addr=internal[0], **settings),
        run_shard(shard_id=1, grpc_addr=Address(outside[1]), internal_addr=internal[1], **settings),
    ):
        listing = await run_command("status", "--all", "--json", "--address", internal[1])
        by_variable = await run_command(
            "status",
            "--all",
            "--json",
            shard_map=format_map(outside),
            internal_shard_map=format_map(settings["internal_shard_map"]),
        )

    for finished in (listing, by_variable):
        assert finished.status == 0, finished.err
        assert {each["address"] for each in json.loads(finished.out)["shards"]} == set(internal)


async def test_a_device_is_not_told_the_internal_addresses(tmp_path: Path) -> None:
    keys = Keys.make(tmp_path)
    maps = {"shard_map": {0: "outside:1"}, "internal_shard_map": {0: "inside:2"}}
    async with (
        run_shard(token_keys=keys.path, **maps) as shard,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel,
    ):
        stub = shard_pb2_grpc.ShardServiceStub(channel)
        addresses = {}
        for role in (Role.DEVICE, Role.OPERATOR):
            metadata = to_metadata(keys.issue(role))
            answer = await stub.ListShards(shard_pb2.ListShardsRequest(), metadata=metadata)
            addresses[role] = [(each.address, each.internal_address) for each in answer.shards]

    assert addresses == {
        Role.DEVICE: [("outside:1", "")],
        Role.OPERATOR: [("outside:1", "inside:2")],
    }


async def test_both_maps_have_the_same_shards() -> None:
    maps = {"shard_map": {0: "a:1"}, "internal_shard_map": {0: "a:2", 1: "b:2"}}
    with pytest.RaisesGroup(
        pytest.RaisesExc(ConfigError, match="both must have the same"), flatten_subgroups=True
    ):
        async with run_shard(**maps):
            pass
