"""The ASGI application of REST: every generated route calls a gRPC method over a local channel.

No route has a handler of its own. A call passes the same interceptor and servicer as a call from
grpcurl, and an error has the JSON form of AIP-193.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Match

from constellation.transport.rest.errors import (
    FieldError,
    MethodNotAllowedError,
    RestError,
    handle_crash,
    handle_disconnect,
    handle_rest_error,
    handle_unknown_route,
    to_error_response,
)
from constellation.transport.rest.fields import to_json_value, to_message
from constellation.transport.rest.request import (
    OriginForm,
    decode_segment,
    match_path,
    parse_query,
    read_body,
    require_acceptable,
)
from constellation.v1 import federation_pb2, health_pb2, process_pb2, shard_pb2, sync_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from google.protobuf.message import Message
    from starlette.types import Receive, Scope, Send

DEADLINE_SECONDS: Final = 30.0
"""The deadline of the gRPC call behind a request."""
_MESSAGE_MODULES: Final = (federation_pb2, health_pb2, process_pb2, shard_pb2, sync_pb2)
"""These modules are imported so that the descriptor pool has their messages by name."""
RouteHandler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """One method of the API with a REST form, as the protoc plugin generated it."""

    verb: str
    path: str
    parameters: Sequence[str]
    has_body: bool
    service: str
    method: str
    request: type[Message]
    response: type[Message]
    unavailable_when: Sequence[str]
    """A field of the response and the JSON value with which the status is 503; empty for none."""


def load_routes(services: Sequence[str]) -> list[Route]:
    """Return the generated routes of some services."""
    return [
        Route(
            **{
                **route,
                "request": _find_message_class(route["request"]),
                "response": _find_message_class(route["response"]),
            }
        )
        for route in _load_generated("rest_routes.json")
        if route["service"] in services
    ]


def load_openapi(services: Sequence[str]) -> dict[str, Any]:
    """Return the OpenAPI document of some services: their paths, and the schemas these use."""
    document: dict[str, Any] = _load_generated("openapi.json")
    names = {service.rpartition(".")[2] for service in services}
    document["tags"] = [tag for tag in document["tags"] if tag["name"] in names]
    document["paths"] = {
        path: operations
        for path, operations in document["paths"].items()
        if any(names & set(operation["tags"]) for operation in operations.values())
    }
    schemas: dict[str, Any] = document["components"]["schemas"]
    used = _find_schemas(document["paths"], schemas)
    document["components"]["schemas"] = {name: schemas[name] for name in schemas if name in used}
    return document


def _find_schemas(part: Any, schemas: Mapping[str, Any]) -> set[str]:
    """Return the names of the schemas that a part of the document uses, directly or indirectly."""
    found: set[str] = set()
    pending = [part]
    while pending:
        text = json.dumps(pending.pop())
        names = set(re.findall(r'"#/components/schemas/(\w+)"', text)) - found
        found |= names
        pending += [schemas[name] for name in names]
    return found


def make_rest_app(channel: grpc.aio.Channel, services: Sequence[str]) -> Starlette:
    """Return the ASGI application that answers the routes of some services over a channel."""
    document = load_openapi(services)

    async def describe(_: Request) -> Response:
        return JSONResponse(document)

    handlers: dict[str, dict[str, RouteHandler]] = {"/openapi.json": {"GET": describe}}
    for route in load_routes(services):
        handlers.setdefault(route.path, {})[route.verb] = _make_handler(route, channel)
    resources = [_Resource(path, verbs) for path, verbs in handlers.items()]
    app = Starlette(
        routes=[*resources, _Server({verb for each in resources for verb in each.verbs})],
        exception_handlers={
            RestError: handle_rest_error,
            HTTPException: handle_unknown_route,
            ClientDisconnect: handle_disconnect,
            Exception: handle_crash,
        },
    )
    app.add_middleware(OriginForm)
    app.router.redirect_slashes = False  # a redirect would repeat the Host header, and use http
    return app


class _Resource(BaseRoute):
    """The route of one path, with a handler for each verb."""

    def __init__(self, path: str, handlers: Mapping[str, RouteHandler]) -> None:
        self._path = path
        self._handlers = dict(handlers)
        if "GET" in handlers:
            self._handlers["HEAD"] = handlers["GET"]  # the listener leaves the body out
        self._handlers["OPTIONS"] = self._list_verbs
        self.verbs = frozenset(self._handlers)
        self._allow_header = {"Allow": ", ".join(sorted(self.verbs))}

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http":
            return Match.NONE, {}
        values = match_path(self._path, scope["raw_path"])
        return (Match.NONE, {}) if values is None else (Match.FULL, {"path_params": values})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        handler = self._handlers.get(request.method)
        if handler is None:
            allowed = self._allow_header["Allow"]
            raise MethodNotAllowedError(
                f"{self._path} does not support {request.method}: use {allowed}",
                self._allow_header,
            )
        require_acceptable(request)
        response = await handler(request)
        await response(scope, receive, send)

    async def _list_verbs(self, _: Request) -> Response:
        return Response(status_code=204, headers=self._allow_header)


class _Server(BaseRoute):
    """What `OPTIONS *` asks about: the server as a whole (RFC 9110, 9.3.7)."""

    def __init__(self, verbs: Collection[str]) -> None:
        self._allow_header = {"Allow": ", ".join(sorted(verbs))}

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        is_asked = scope["type"] == "http" and scope["raw_path"] == b"*"
        return (Match.FULL, {}) if is_asked and scope["method"] == "OPTIONS" else (Match.NONE, {})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await Response(status_code=204, headers=self._allow_header)(scope, receive, send)


def _make_handler(route: Route, channel: grpc.aio.Channel) -> RouteHandler:
    call: Any = channel.unary_unary(
        f"/{route.service}/{route.method}",
        request_serializer=route.request.SerializeToString,
        response_deserializer=route.response.FromString,
    )

    async def handle(request: Request) -> Response:
        message = await _read_request(route, request)
        try:
            response = await call(
                message, timeout=DEADLINE_SECONDS, metadata=_read_credential(request)
            )
        except grpc.aio.AioRpcError as error:
            return await to_error_response(error)
        body = _to_json(response)
        return JSONResponse(body, status_code=_choose_status(route, body))

    return handle


def _read_credential(request: Request) -> tuple[tuple[str, str], ...]:
    """Return the header Authorization as metadata, for the same check as over gRPC.

    gRPC fails on metadata that is not printable ASCII. No token looks like that, so it counts as
    none.
    """
    return tuple(
        ("authorization", each)
        for each in request.headers.getlist("authorization")
        if each.isascii() and each.isprintable()
    )


async def _read_request(route: Route, request: Request) -> Message:
    """Return the request message, made of the path, the query and the body."""
    fields: Mapping[str, Any] = route.request.DESCRIPTOR.fields_by_name
    in_query = [name for name in fields if name not in route.parameters and not route.has_body]
    texts = parse_query(request.scope["query_string"])
    for name in texts.keys() - set(in_query):
        known = ", ".join(in_query) or "none"
        raise FieldError(
            name, f"is not a parameter of {route.verb} {route.path}: its parameters are {known}"
        )
    texts |= {name: [decode_segment(name, value)] for name, value in request.path_params.items()}
    values = await read_body(request, optional=not fields) if route.has_body else {}
    values |= {name: to_json_value(fields[name], given, name) for name, given in texts.items()}
    return to_message(route.request, values)


def _to_json(message: Message) -> dict[str, Any]:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _choose_status(route: Route, body: dict[str, Any]) -> int:
    if not route.unavailable_when:
        return 200
    field, value = route.unavailable_when
    found = body.get(field)
    text = str(found).lower() if isinstance(found, bool) else found
    return 503 if text == value else 200


def _find_message_class(name: str) -> type[Message]:
    return message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(name))


def _load_generated(name: str) -> Any:
    return json.loads(resources.files("constellation.v1").joinpath(name).read_text("utf-8"))
