"""Why there is no connection, from real servers that are not what the device looks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest

from constellation_settop import Outbox, Sync, SyncSettings, TlsSettings, UnreachableError
from constellation_settop.network.channel import connect, open_channel
from constellation_settop.network.explain import explain_no_connection
from tests.clients.stub_shard import StubShard, serve_stub
from tests.conftest import run_shard
from tests.federation.fleet import get_address, run_federation
from tests.tls import make_certificate

if TYPE_CHECKING:
    from pathlib import Path


async def find_reason(address: str, tls: TlsSettings | None = None) -> str:
    async with open_channel(address, tls) as channel:
        with pytest.raises(UnreachableError) as raised:
            await connect(channel)
    return str(raised.value)


async def test_a_port_where_nobody_listens_refuses() -> None:
    assert "connection refused: is the shard running" in await find_reason("127.0.0.1:1")


async def test_an_unknown_host_is_named_as_such() -> None:
    assert "the host name is unknown" in await find_reason("no-such-host.invalid:50051")


async def test_the_rest_port_and_the_metrics_port_are_told_from_the_grpc_port() -> None:
    async with run_shard() as shard:
        rest = await find_reason(f"127.0.0.1:{shard.ports.rest}")
        metrics = await find_reason(f"127.0.0.1:{shard.ports.metrics}")

    assert "this is an HTTP port: give the gRPC port" in rest
    assert "give the gRPC port" in metrics


async def test_tls_to_a_shard_in_clear_text_is_told() -> None:
    async with serve_stub(StubShard()) as address:
        assert "it does not use TLS" in await find_reason(address, TlsSettings())


async def test_clear_text_to_a_shard_with_tls_and_an_unknown_authority_are_told(
    tmp_path: Path,
) -> None:
    server = make_certificate(tmp_path, "localhost")
    credentials = grpc.ssl_server_credentials([(server.key.read_bytes(), server.cert.read_bytes())])
    async with serve_stub(StubShard(), credentials=credentials) as address:
        clear = await find_reason(address)
        distrusted = await find_reason(address, TlsSettings())
        trusted = TlsSettings(root_certificates=server.cert.read_bytes())
        misnamed = await find_reason(address, trusted)

    assert "does it require TLS" in clear
    assert "not signed by a trusted authority" in distrusted
    assert "its certificate is for another host name" in misnamed


async def test_a_federation_is_no_shard() -> None:
    settings = SyncSettings(backoff_base_seconds=0.01, backoff_cap_seconds=0.05)
    async with run_federation(["127.0.0.1:1"]) as federation:
        with Outbox.open(":memory:") as outbox:
            async with Sync.open(get_address(federation), outbox, settings) as sync:
                with pytest.raises(UnreachableError, match="this is not a shard"):
                    await sync.wait_for_update(2)


def test_an_unknown_message_is_shown_on_one_line() -> None:
    assert explain_no_connection("a\n b") == "a b"
    assert explain_no_connection("") == "the address refuses or is not reachable"
