"""REST: the generated routes, each answered by the gRPC method it names, over a local channel.

There is no handler here for any single route: a call goes through the same interceptor and the same
servicer as one from grpcurl, and an error comes back as AIP-193 says.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import grpc
import structlog
from google.protobuf import descriptor_pool, json_format, message_factory
from google.rpc import error_details_pb2
from grpc_status.rpc_status import aio as rpc_status
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Route as Endpoint

from constellation.v1 import federation_pb2, health_pb2, shard_pb2, sync_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from google.protobuf.message import Message
    from starlette.requests import Request

log = structlog.get_logger(__name__)

MAX_BODY_BYTES: Final = 1 << 20
DEADLINE_SECONDS: Final = 30.0
_JSON: Final = "application/json"
_KNOWN: Final = (federation_pb2, health_pb2, shard_pb2, sync_pb2, error_details_pb2)
"""Imported, so that the pool knows their messages by name."""
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
"""As google/rpc/code.proto maps them."""
_NAMES: Final = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 405: "UNIMPLEMENTED"} | {
    413: "OUT_OF_RANGE",
    415: "INVALID_ARGUMENT",
}
"""What the errors are called that no gRPC method has raised."""


@dataclass(frozen=True, slots=True)
class Route:
    """One method of the API that has a REST form; read from what the plugin generated."""

    verb: str
    path: str
    parameters: Sequence[str]
    has_body: bool
    service: str
    method: str
    request: type[Message]
    response: type[Message]
    unavailable_when: Sequence[str]
    """A field of the response and its JSON value that make it 503, or nothing."""


def routes_of(services: Sequence[str]) -> list[Route]:
    """Return the generated routes of some services."""
    return [
        Route(
            **{
                **route,
                "request": _message_of(route["request"]),
                "response": _message_of(route["response"]),
            }
        )
        for route in _generated("rest_routes.json")
        if route["service"] in services
    ]


def openapi_of(services: Sequence[str]) -> dict[str, Any]:
    """Return the OpenAPI document, with the paths of some services."""
    document: dict[str, Any] = _generated("openapi.json")
    names = {service.rpartition(".")[2] for service in services}
    document["paths"] = {
        path: operations
        for path, operations in document["paths"].items()
        if any(names & set(operation["tags"]) for operation in operations.values())
    }
    return document


def rest_app(channel: grpc.aio.Channel, services: Sequence[str]) -> Starlette:
    """Return the ASGI application that answers the routes of some services over a channel."""
    document = openapi_of(services)

    async def describe(_: Request) -> JSONResponse:
        return JSONResponse(document)

    endpoints = [
        Endpoint(route.path, _endpoint(route, channel), methods=[route.verb])
        for route in routes_of(services)
    ]
    return Starlette(
        routes=[Endpoint("/openapi.json", describe, methods=["GET"]), *endpoints],
        exception_handlers={HTTPException: _refused, Exception: _crashed},
    )


def _endpoint(route: Route, channel: grpc.aio.Channel) -> Callable[[Request], Any]:
    call: Any = channel.unary_unary(
        f"/{route.service}/{route.method}",
        request_serializer=route.request.SerializeToString,
        response_deserializer=route.response.FromString,
    )

    async def answer(request: Request) -> JSONResponse:
        message = await _to_message(route, request)
        try:
            response = await call(message, timeout=DEADLINE_SECONDS)
        except grpc.aio.AioRpcError as error:
            return await _failed(error)
        return JSONResponse(told := _to_json(response), status_code=_status(route, told))

    return answer


async def _to_message(route: Route, request: Request) -> Message:
    """Return the request that a body, path and query parameters make up."""
    values: dict[str, Any] = await _body(request) if route.has_body else {}
    fields = route.request.DESCRIPTOR.fields_by_name
    for name, value in (*request.query_params.multi_items(), *request.path_params.items()):
        field = fields.get(name)
        if field is None:
            raise HTTPException(400, f"{name}: {route.method} has no such parameter")
        parsed = _boolean(name, value) if field.type == field.TYPE_BOOL else value
        if field.is_repeated:
            values.setdefault(name, []).append(parsed)
        else:
            values[name] = parsed
    try:
        return json_format.ParseDict(values, route.request())
    except json_format.ParseError as error:
        raise HTTPException(400, str(error)) from None


async def _body(request: Request) -> dict[str, Any]:
    kind = request.headers.get("content-type", _JSON).partition(";")[0].strip().lower()
    if kind != _JSON:
        raise HTTPException(415, f"content-type must be {_JSON}, got {kind!r}")
    sent = bytearray()
    async for chunk in request.stream():
        sent += chunk
        if len(sent) > MAX_BODY_BYTES:
            raise HTTPException(413, f"the body must be at most {MAX_BODY_BYTES} bytes")
    try:
        values = json.loads(sent or b"{}")
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"the body must be JSON: {error}") from None
    if not isinstance(values, dict):
        raise HTTPException(400, "the body must be a JSON object")
    return values


def _boolean(name: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise HTTPException(400, f"{name} must be true or false, got {text!r}")
    return text == "true"


def _to_json(message: Message) -> dict[str, Any]:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _status(route: Route, told: dict[str, Any]) -> int:
    if not route.unavailable_when:
        return 200
    field, value = route.unavailable_when
    shown = told.get(field)
    return 503 if (str(shown).lower() if isinstance(shown, bool) else shown) == value else 200


async def _failed(error: grpc.aio.AioRpcError) -> JSONResponse:
    """Return the error of a gRPC call, its details as they came."""
    code = error.code()
    status = await rpc_status.from_call(_Ended(error))
    details = [json_format.MessageToDict(detail) for detail in status.details] if status else []
    http = HTTP_STATUSES[code]
    return _error(http, error.details() or "", code.name, details)


class _Ended:
    """A call that ended with an error, as grpc_status wants to see it."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self._error = error

    async def code(self) -> grpc.StatusCode:
        return self._error.code()

    async def details(self) -> str | None:
        return self._error.details()

    async def trailing_metadata(self) -> Any:
        return self._error.trailing_metadata()


async def _refused(_: Request, raised: Exception) -> JSONResponse:
    """Return an error of the request itself."""
    assert isinstance(raised, HTTPException)
    name = _NAMES.get(raised.status_code, "UNKNOWN")
    return _error(raised.status_code, raised.detail, name, [], raised.headers)


async def _crashed(_: Request, raised: Exception) -> JSONResponse:
    """Return no more than that something broke; the log has the rest."""
    log.error("rest_crashed", problem=repr(raised))
    return _error(500, "internal error", "INTERNAL", [])


def _error(
    http: int, message: str, name: str, details: list[Any], headers: Any = None
) -> JSONResponse:
    body = {"code": http, "message": message, "status": name, "details": details}
    return JSONResponse({"error": body}, status_code=http, headers=headers)


def _message_of(name: str) -> type[Message]:
    return message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(name))


def _generated(name: str) -> Any:
    return json.loads(resources.files("constellation.v1").joinpath(name).read_text("utf-8"))
