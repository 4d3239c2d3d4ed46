from __future__ import annotations

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata

from constellation.cli.explain import explain_error, explain_unknown_method, is_from_server

STATUS_DETAILS = Metadata(("grpc-status-details-bin", b""))


def make_error(
    code: grpc.StatusCode, details: str, trailers: Metadata | None = None
) -> AioRpcError:
    return AioRpcError(code, Metadata(), trailers or Metadata(), details)


@pytest.mark.parametrize(
    ("details", "message"),
    [
        ("connect: Connection refused (111)", "connection refused: is the process running, "),
        ("Ssl handshake failed: CERTIFICATE_VERIFY_FAILED", "give --ca FILE"),
        ("Hostname Verification Check failed", "give --server-name NAME"),
        ("Ssl handshake failed: WRONG_VERSION_NUMBER", "it does not use TLS: omit --tls"),
        ("errors resolving nowhere:1: [field:none]", "the host name is unknown"),
        ("Trying to connect an http1.x server", "this is an HTTP port: give the gRPC port"),
        ("Socket closed", "it closed the connection: does it require --tls"),
        ("something\n new", "cannot connect: something new"),
    ],
)
def test_an_error_without_a_connection_says_what_to_do(details: str, message: str) -> None:
    error = make_error(grpc.StatusCode.UNAVAILABLE, details)

    explanation = explain_error(error, "GetInfo", "host:1")

    assert explanation.startswith("GetInfo at host:1: ")
    assert message in explanation
    assert "\n" not in explanation


def test_an_error_of_the_server_keeps_the_servers_words() -> None:
    error = make_error(grpc.StatusCode.INVALID_ARGUMENT, "limit must be from 1 to 1000, got 0")

    assert explain_error(error, "ListClusters", "host:1") == (
        "ListClusters at host:1: invalid request: limit must be from 1 to 1000, got 0"
    )


def test_an_expired_deadline_asks_for_a_longer_timeout() -> None:
    error = make_error(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")

    assert explain_error(error, "GetInfo", "host:1") == (
        "GetInfo at host:1: timed out: give a longer --timeout"
    )


def test_unavailable_comes_from_the_server_only_with_its_details() -> None:
    assert is_from_server(make_error(grpc.StatusCode.UNAVAILABLE, "starting", STATUS_DETAILS))
    assert not is_from_server(make_error(grpc.StatusCode.UNAVAILABLE, "Connection refused"))
    assert is_from_server(make_error(grpc.StatusCode.NOT_FOUND, "no such device"))


@pytest.mark.parametrize(
    ("method", "services", "message"),
    [
        ("GetInfo", ["Federation"], "is a federation: give the address of a shard"),
        ("GetRound", ["Shard"], "is a shard: give the address of a federation"),
        ("GetInfo", ["Shard"], "does not implement GetInfo: it is older than this command"),
        ("GetInfo", [], "does not implement GetInfo: it is not a process of Constellation"),
    ],
)
def test_an_unknown_method_is_explained_by_the_services(
    method: str, services: list[str], message: str
) -> None:
    assert explain_unknown_method(method, "host:1", services).startswith(f"host:1 {message}")
