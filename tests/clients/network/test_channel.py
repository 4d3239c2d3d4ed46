from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc.aio import AioRpcError, Metadata

from constellation_settop import TlsSettings, UnreachableError
from constellation_settop.network.channel import connect, open_channel, parse_failure
from tests.clients.stub_shard import StubShard, serve_stub
from tests.tls import make_certificate

if TYPE_CHECKING:
    from pathlib import Path


def make_error(
    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE, *trailers: tuple[str, str | bytes]
) -> AioRpcError:
    return AioRpcError(code, Metadata(), Metadata(*trailers), details="on purpose")


def make_details(
    *details: error_details_pb2.RetryInfo | error_details_pb2.ErrorInfo,
) -> tuple[str, bytes]:
    status = status_pb2.Status(code=14)
    for detail in details:
        status.details.add().Pack(detail)
    return ("grpc-status-details-bin", status.SerializeToString())


def test_a_failure_without_details_leaves_the_delay_to_the_device() -> None:
    failure = parse_failure(make_error())

    assert failure.reason == "UNAVAILABLE: on purpose"
    assert failure.delay_seconds is None
    assert failure.address is None
    assert not failure.is_credential_refused


@pytest.mark.parametrize(("text", "seconds"), [("1500", 1.5), ("0", 0), ("-1", None), ("x", None)])
def test_pushback_is_in_milliseconds(text: str, seconds: float | None) -> None:
    error = make_error(grpc.StatusCode.UNAVAILABLE, ("grpc-retry-pushback-ms", text))

    assert parse_failure(error).delay_seconds == seconds


def test_the_longer_of_two_delays_counts() -> None:
    retry = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=3))
    for pushback, seconds in (("1000", 3), ("5000", 5)):
        error = make_error(
            grpc.StatusCode.UNAVAILABLE, ("grpc-retry-pushback-ms", pushback), make_details(retry)
        )

        assert parse_failure(error).delay_seconds == seconds


def test_the_owner_is_read_from_the_error_info() -> None:
    info = error_details_pb2.ErrorInfo(reason="NOT_OWNER", metadata={"address": "other:1"})
    error = make_error(grpc.StatusCode.FAILED_PRECONDITION, make_details(info))

    assert parse_failure(error).address == "other:1"


def test_details_that_cannot_be_read_are_ignored() -> None:
    error = make_error(grpc.StatusCode.UNAVAILABLE, ("grpc-status-details-bin", b"\xff\xff"))

    assert parse_failure(error).delay_seconds is None


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED]
)
def test_some_codes_mean_that_the_credential_is_refused(code: grpc.StatusCode) -> None:
    assert parse_failure(make_error(code)).is_credential_refused


async def test_a_channel_connects_to_a_shard_that_serves() -> None:
    async with serve_stub(StubShard()) as address, open_channel(address) as channel:
        await connect(channel)

        assert channel.get_state() is grpc.ChannelConnectivity.READY


async def test_the_first_refusal_is_unreachable() -> None:
    async with open_channel("127.0.0.1:1") as channel:
        with pytest.raises(UnreachableError, match="no connection"):
            await connect(channel)


async def test_tls_connects_to_a_server_whose_certificate_is_trusted(tmp_path: Path) -> None:
    server, client = (make_certificate(tmp_path, name) for name in ("localhost", "device"))
    tls = TlsSettings(
        root_certificates=server.cert.read_bytes(),
        private_key=client.key.read_bytes(),
        certificate_chain=client.cert.read_bytes(),
    )
    credentials = grpc.ssl_server_credentials(
        [(server.key.read_bytes(), server.cert.read_bytes())],
        root_certificates=client.cert.read_bytes(),
        require_client_auth=True,
    )
    async with (
        serve_stub(StubShard(), credentials=credentials) as address,
        open_channel(address.replace("127.0.0.1", "localhost"), tls) as channel,
    ):
        await connect(channel)

        assert channel.get_state() is grpc.ChannelConnectivity.READY


async def test_tls_does_not_connect_to_a_shard_in_clear_text() -> None:
    async with (
        serve_stub(StubShard()) as address,
        open_channel(address, TlsSettings()) as channel,
    ):
        with pytest.raises(UnreachableError):
            await connect(channel)
