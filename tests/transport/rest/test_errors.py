"""Every error over HTTP has the form of AIP-193, with exactly one ErrorInfo."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc.aio import AioRpcError, Metadata
from starlette.requests import Request

from constellation.transport.rest.errors import (
    HTTP_STATUSES,
    BodyTooLargeError,
    FieldError,
    RestError,
    format_value,
    handle_crash,
    handle_disconnect,
    handle_rest_error,
    handle_unknown_route,
    to_error_response,
)

REQUEST = Request({"type": "http", "raw_path": b"/nowhere", "headers": []})


def read_error(response: Any) -> dict[str, Any]:
    error: dict[str, Any] = json.loads(bytes(response.body))["error"]
    return error


def test_every_grpc_status_has_an_http_one() -> None:
    assert set(HTTP_STATUSES) == set(grpc.StatusCode)


@pytest.mark.parametrize("code", list(grpc.StatusCode))
async def test_an_error_without_details_gets_its_reason(code: grpc.StatusCode) -> None:
    response = await to_error_response(AioRpcError(code, Metadata(), Metadata(), "so it is"))

    error = json.loads(bytes(response.body))["error"]
    assert response.status_code == error["code"] == HTTP_STATUSES[code]
    assert error["status"] == error["details"][0]["reason"] == code.name
    assert ("retry-after" in response.headers) is (response.status_code in (429, 503))


async def test_retry_after_is_whole_seconds_rounded_up() -> None:
    detail = AnyMessage()
    wait = Duration(seconds=1, nanos=1)
    detail.Pack(error_details_pb2.RetryInfo(retry_delay=wait))
    status = status_pb2.Status(
        code=grpc.StatusCode.UNAVAILABLE.value[0], message="later", details=[detail]
    )
    trailers = Metadata(("grpc-status-details-bin", status.SerializeToString()))

    response = await to_error_response(
        AioRpcError(grpc.StatusCode.UNAVAILABLE, Metadata(), trailers, "later")
    )

    assert response.headers["retry-after"] == "2"


@pytest.mark.parametrize("kind", RestError.__subclasses__())
def test_every_refusal_has_a_reason_of_its_own(kind: type[RestError]) -> None:
    others = [each.reason for each in RestError.__subclasses__() if each is not kind]

    assert kind.reason not in others
    assert 400 <= kind.http < 500


async def test_a_refused_field_is_named_in_every_part_of_the_error() -> None:
    response = await handle_rest_error(REQUEST, FieldError("limit", "must be given once"))

    error = read_error(response)
    assert response.status_code == 400
    assert error["message"] == "limit must be given once"
    info, bad_request = error["details"]
    assert info["metadata"] == {"field": "limit"}
    assert bad_request["fieldViolations"] == [
        {"field": "limit", "description": "must be given once"}
    ]


async def test_a_body_that_is_too_large_has_its_limit_in_the_error() -> None:
    response = await handle_rest_error(REQUEST, BodyTooLargeError(9))

    assert response.status_code == 413
    assert read_error(response)["details"][0]["metadata"] == {"limit_bytes": "9"}


async def test_an_unknown_path_is_404() -> None:
    response = await handle_unknown_route(REQUEST, Exception())

    assert response.status_code == 404
    assert read_error(response)["message"].startswith("there is no path '/nowhere'")


async def test_a_crash_reveals_nothing() -> None:
    response = await handle_crash(REQUEST, RuntimeError("secret"))

    assert response.status_code == 500
    assert b"secret" not in bytes(response.body)
    assert read_error(response)["details"][0]["reason"] == "INTERNAL"


async def test_a_caller_that_disconnects_is_499() -> None:
    assert (await handle_disconnect(REQUEST, Exception())).status_code == 499


def test_a_long_value_is_shortened() -> None:
    assert format_value("x" * 81) == f"'{'x' * 79}..."
    assert format_value("x" * 80, quoted=False) == "x" * 80
