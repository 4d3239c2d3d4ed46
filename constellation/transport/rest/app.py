"""REST: the generated routes, each answered by the gRPC method it names, over a local channel.

There is no handler here for any single route: a call goes through the same interceptor and the same
servicer as one from grpcurl, and an error comes back as AIP-193 says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
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
    NoSuchVerbError,
    RestError,
    abandoned,
    crashed,
    failed,
    refused,
    unrouted,
)
from constellation.transport.rest.fields import from_text, to_message
from constellation.transport.rest.request import (
    body_values,
    path_values,
    query_values,
    require_acceptable,
    to_text,
)
from constellation.v1 import federation_pb2, health_pb2, process_pb2, shard_pb2, sync_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from google.protobuf.message import Message
    from starlette.types import Receive, Scope, Send

DEADLINE_SECONDS: Final = 30.0
_KNOWN: Final = (federation_pb2, health_pb2, process_pb2, shard_pb2, sync_pb2)
"""Imported, so that the pool knows their messages by name."""
Answer = Callable[[Request], Awaitable[Response]]


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
    """Return the OpenAPI document, with the paths of some services and what they refer to."""
    document: dict[str, Any] = _generated("openapi.json")
    names = {service.rpartition(".")[2] for service in services}
    document["tags"] = [tag for tag in document["tags"] if tag["name"] in names]
    document["paths"] = {
        path: operations
        for path, operations in document["paths"].items()
        if any(names & set(operation["tags"]) for operation in operations.values())
    }
    schemas: dict[str, Any] = document["components"]["schemas"]
    used = _referred(document["paths"], schemas)
    document["components"]["schemas"] = {name: schemas[name] for name in schemas if name in used}
    return document


def _referred(part: Any, schemas: Mapping[str, Any]) -> set[str]:
    """Return the schemas that a part of the document refers to, and those they refer to."""
    found: set[str] = set()
    waiting = [part]
    while waiting:
        text = json.dumps(waiting.pop())
        names = set(re.findall(r'"#/components/schemas/(\w+)"', text)) - found
        found |= names
        waiting += [schemas[name] for name in names]
    return found


def rest_app(channel: grpc.aio.Channel, services: Sequence[str]) -> Starlette:
    """Return the ASGI application that answers the routes of some services over a channel."""
    document = openapi_of(services)

    async def describe(_: Request) -> Response:
        return JSONResponse(document)

    answers: dict[str, dict[str, Answer]] = {"/openapi.json": {"GET": describe}}
    for route in routes_of(services):
        answers.setdefault(route.path, {})[route.verb] = _answer(route, channel)
    app = Starlette(
        routes=[_Resource(path, verbs) for path, verbs in answers.items()],
        exception_handlers={
            RestError: refused,
            HTTPException: unrouted,
            ClientDisconnect: abandoned,
            Exception: crashed,
        },
    )
    app.router.redirect_slashes = False  # a redirect would name the Host header, and http
    return app


class _Resource(BaseRoute):
    """One path, and what answers each verb there."""

    def __init__(self, path: str, answers: Mapping[str, Answer]) -> None:
        self._path = path
        self._answers = dict(answers)
        if "GET" in answers:
            self._answers["HEAD"] = answers["GET"]  # the listener leaves the body out
        self._answers["OPTIONS"] = self._tell_verbs
        self._allowed = {"Allow": ", ".join(sorted(self._answers))}

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http":
            return Match.NONE, {}
        values = path_values(self._path, scope["raw_path"])
        return (Match.NONE, {}) if values is None else (Match.FULL, {"path_params": values})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        answer = self._answers.get(request.method)
        if answer is None:
            allowed = self._allowed["Allow"]
            raise NoSuchVerbError(
                f"{request.method} is not for {self._path}: use {allowed}", self._allowed
            )
        require_acceptable(request)
        response = await answer(request)
        await response(scope, receive, send)

    async def _tell_verbs(self, _: Request) -> Response:
        return Response(status_code=204, headers=self._allowed)


def _answer(route: Route, channel: grpc.aio.Channel) -> Answer:
    call: Any = channel.unary_unary(
        f"/{route.service}/{route.method}",
        request_serializer=route.request.SerializeToString,
        response_deserializer=route.response.FromString,
    )

    async def answer(request: Request) -> Response:
        message = await _requested(route, request)
        try:
            response = await call(message, timeout=DEADLINE_SECONDS)
        except grpc.aio.AioRpcError as error:
            return await failed(error)
        return JSONResponse(told := _to_json(response), status_code=_status(route, told))

    return answer


async def _requested(route: Route, request: Request) -> Message:
    """Return the request that path, query and body make up."""
    fields: Mapping[str, Any] = route.request.DESCRIPTOR.fields_by_name
    in_query = [name for name in fields if name not in route.parameters and not route.has_body]
    texts = query_values(request.scope["query_string"])
    for name in texts.keys() - set(in_query):
        known = ", ".join(in_query) or "none"
        raise FieldError(name, f"is no parameter of {route.verb} {route.path}: it has {known}")
    texts |= {name: [to_text(name, value)] for name, value in request.path_params.items()}
    values = await body_values(request, optional=not fields) if route.has_body else {}
    values |= {name: from_text(fields[name], given, name) for name, given in texts.items()}
    return to_message(route.request, values)


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


def _message_of(name: str) -> type[Message]:
    return message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(name))


def _generated(name: str) -> Any:
    return json.loads(resources.files("constellation.v1").joinpath(name).read_text("utf-8"))
