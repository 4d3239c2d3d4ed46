"""Errors over HTTP as AIP-193 has them: of gRPC calls, and of requests that became no call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import grpc
import structlog
from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2
from grpc_status.rpc_status import aio as rpc_status
from starlette.responses import JSONResponse, Response

from constellation.transport.calls.status import DOMAIN, RETRY_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from google.protobuf.message import Message
    from starlette.requests import Request

log = structlog.get_logger(__name__)

_MAX_VALUE_LENGTH: Final = 80
"""The most characters of a value that an error message repeats."""
_RETRYABLE: Final = (429, 503)
_Code = grpc.StatusCode
HTTP_STATUSES: Final[dict[grpc.StatusCode, int]] = {
    _Code.OK: 200,
    _Code.CANCELLED: 499,
    _Code.UNKNOWN: 500,
    _Code.INVALID_ARGUMENT: 400,
    _Code.DEADLINE_EXCEEDED: 504,
    _Code.NOT_FOUND: 404,
    _Code.ALREADY_EXISTS: 409,
    _Code.PERMISSION_DENIED: 403,
    _Code.UNAUTHENTICATED: 401,
    _Code.RESOURCE_EXHAUSTED: 429,
    _Code.FAILED_PRECONDITION: 400,
    _Code.ABORTED: 409,
    _Code.OUT_OF_RANGE: 400,
    _Code.UNIMPLEMENTED: 501,
    _Code.INTERNAL: 500,
    _Code.UNAVAILABLE: 503,
    _Code.DATA_LOSS: 500,
}
"""The HTTP status of each gRPC status, as google/rpc/code.proto maps them."""


class RestError(Exception):
    """A request that is refused before it becomes a gRPC call."""

    http = 400
    code = _Code.INVALID_ARGUMENT
    reason = "MALFORMED_REQUEST"

    def __init__(self, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.headers = dict(headers or {})
        self.metadata: dict[str, str] = {}

    def details(self) -> list[Message]:
        """Return the details of the error: an ErrorInfo first."""
        return [
            error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN, metadata=self.metadata)
        ]


class FieldError(RestError):
    """A field of the body, or a parameter, is invalid."""

    reason = "INVALID_INPUT"

    def __init__(self, field: str, problem: str) -> None:
        name = format_value(field, quoted=False) or "''"
        super().__init__(f"{name} {problem}")
        self.metadata = {"field": name}
        self._violation = error_details_pb2.BadRequest.FieldViolation(
            field=name, description=problem
        )

    def details(self) -> list[Message]:
        bad = error_details_pb2.BadRequest(field_violations=[self._violation])
        return [*super().details(), bad]


class MalformedBodyError(RestError):
    reason = "MALFORMED_BODY"


class NoSuchRouteError(RestError):
    http, code, reason = 404, _Code.NOT_FOUND, "NO_SUCH_ROUTE"


class MethodNotAllowedError(RestError):
    http, code, reason = 405, _Code.UNIMPLEMENTED, "METHOD_NOT_ALLOWED"


class NotAcceptableError(RestError):
    http, reason = 406, "NOT_ACCEPTABLE"


class BodyTooLargeError(RestError):
    http, reason = 413, "BODY_TOO_LARGE"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the body must be at most {limit_bytes} bytes: send several requests")
        self.metadata = {"limit_bytes": str(limit_bytes)}


class MediaTypeError(RestError):
    http, reason = 415, "UNSUPPORTED_MEDIA_TYPE"


def format_value(value: Any, *, quoted: bool = True) -> str:
    """Return a value as an error message repeats it, shortened when it is long."""
    text = repr(value) if quoted else str(value).encode(errors="backslashreplace").decode()
    return text if len(text) <= _MAX_VALUE_LENGTH else f"{text[:_MAX_VALUE_LENGTH]}..."


async def handle_rest_error(_: Request, raised: Exception) -> Response:
    """Return the response to a request that was refused before it became a gRPC call."""
    assert isinstance(raised, RestError)
    details = [_pack(detail) for detail in raised.details()]
    response = _make_response(raised.http, raised.code, str(raised), details)
    response.headers.update(raised.headers)
    return response


async def handle_unknown_route(request: Request, _: Exception) -> Response:
    """Return the response for an unknown path, which is the only error that Starlette raises."""
    path = format_value(request.scope["raw_path"].decode("latin-1"))
    return await handle_rest_error(
        request, NoSuchRouteError(f"there is no path {path}: GET /openapi.json lists the paths")
    )


async def handle_disconnect(_: Request, __: Exception) -> Response:
    """Return a response for a caller that has disconnected; nobody reads it."""
    return Response(status_code=HTTP_STATUSES[_Code.CANCELLED])


async def handle_crash(_: Request, raised: Exception) -> Response:
    """Return an internal error without details; the log has them."""
    log.error("rest_crashed", problem=repr(raised))
    return _make_response(500, _Code.INTERNAL, "internal error", [])


async def to_error_response(error: grpc.aio.AioRpcError) -> Response:
    """Return the response for a gRPC call that failed, with the details of its status."""
    code = error.code()
    status = await rpc_status.from_call(_FailedCall(error))
    details = list(status.details) if status else []
    return _make_response(HTTP_STATUSES[code], code, error.details() or "", details)


class _FailedCall:
    """A failed call with the methods that grpc_status expects of a call."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self._error = error

    async def code(self) -> grpc.StatusCode:
        return self._error.code()

    async def details(self) -> str | None:
        return self._error.details()

    async def trailing_metadata(self) -> Any:
        return self._error.trailing_metadata()


def _make_response(
    http: int, code: grpc.StatusCode, message: str, details: list[AnyMessage]
) -> Response:
    """Return an error with exactly one ErrorInfo, and Retry-After when the error is retryable."""
    if not any(detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR) for detail in details):
        # gRPC's own errors, and those after a crash, have none
        info = error_details_pb2.ErrorInfo(reason=code.name, domain=DOMAIN)
        details = [_pack(info), *details]
    body = {
        "code": http,
        "message": message,
        "status": code.name,
        "details": [json_format.MessageToDict(detail) for detail in details],
    }
    headers = {"Retry-After": str(wait)} if (wait := _find_retry_delay(code, details)) else None
    return JSONResponse({"error": body}, status_code=http, headers=headers)


def _find_retry_delay(code: grpc.StatusCode, details: Sequence[AnyMessage]) -> int:
    """Return the seconds to wait before the next attempt; 0 when another attempt is of no use."""
    retry = error_details_pb2.RetryInfo()
    for detail in details:
        if detail.Unpack(retry):
            return int(retry.retry_delay.seconds) + int(retry.retry_delay.nanos > 0)
    return RETRY_SECONDS if HTTP_STATUSES[code] in _RETRYABLE else 0


def _pack(detail: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(detail)
    return packed
