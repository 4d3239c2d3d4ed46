"""Requests over REST: method, target, header and body, through the application and its handlers."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from google.protobuf import json_format

from constellation.shard_process import SERVICES
from constellation.transport.rest.app import load_routes, make_rest_app
from constellation.v1 import shard_pb2
from tests.deltas import PatternSpec
from tests.sync_client import make_delta_message, make_push

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.message import Message
    from starlette.types import ASGIApp

_END: Final = b"\r\n\r\n"
_REFUSED: Final = 400
_CRASHED: Final = 500


BODIES: Final[dict[str, Message]] = {
    "AddContent": shard_pb2.AddContentRequest(
        contents=[
            shard_pb2.Content(content_id="film:1", title="Solaris", genres=["Drama"], year=1972)
        ]
    ),
    "Exchange": make_push(
        1, make_delta_message(1, [PatternSpec(1)], [2], signals=[("film:1", 500_000)])
    ),
}


class RefusedRequestError(Exception):
    """The request was refused with a status of the 4xx, as it should be."""


class _AnsweringChannel:
    """A channel whose server answers each call with an empty message: what is before it counts."""

    def unary_unary(self, method: str, **_: Any) -> Any:
        responses = {
            f"/{route.service}/{route.method}": route.response for route in load_routes(SERVICES)
        }

        async def answer(request: Any, **_: Any) -> Any:
            request.SerializeToString()
            return responses[method]()

        return answer


class RestRequests:
    """The application of a shard, whose inputs are requests as they stand in HTTP/1.1."""

    def __init__(self, app: ASGIApp, loop: asyncio.AbstractEventLoop) -> None:
        self._app = app
        self._loop = loop

    @classmethod
    @contextmanager
    def open(cls) -> Iterator[RestRequests]:
        """Make the application, and the loop on which it runs."""
        channel: Any = _AnsweringChannel()
        with asyncio.Runner() as runner:
            yield cls(make_rest_app(channel, SERVICES), runner.get_loop())

    def run(self, data: bytes) -> None:
        """Answer one request. Raises RefusedRequestError for a status of the 4xx."""
        self._loop.run_until_complete(self._run(data))

    async def _run(self, data: bytes) -> None:
        head, _, body = data.partition(_END)
        line, *fields = head.split(b"\r\n")
        method, _, rest = line.partition(b" ")
        target = rest.partition(b" ")[0]
        path, _, query = target.partition(b"?")
        headers = [
            (name.strip().lower(), value.strip())
            for name, colon, value in (field.partition(b":") for field in fields)
            if colon
        ]
        if any(name == b"content-length" and not value.isdigit() for name, value in headers):
            raise RefusedRequestError  # the parser of the listener refuses it
        scope = {
            "type": "http", "http_version": "1.1", "method": method.decode("latin-1"),
            "scheme": "http", "path": path.decode("latin-1"), "raw_path": path,
            "query_string": query, "headers": headers, "client": None, "server": None,
        }  # fmt: skip
        statuses: list[int] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        await self._app(scope, receive, send)
        (status,) = statuses
        assert status < _CRASHED or status == 503, f"status {status}"
        if status >= _REFUSED:
            raise RefusedRequestError


def make_requests() -> list[bytes]:
    """Return a valid request for every route, and for what has none."""
    found = [b"GET /openapi.json HTTP/1.1" + _END, b"OPTIONS * HTTP/1.1" + _END]
    for route in load_routes(SERVICES):
        path = route.path
        for name in route.parameters:
            path = path.replace(f"{{{name}}}", "x%2Fy")
        head = f"{route.verb} {path} HTTP/1.1\r\naccept: application/json;q=0.9, */*"
        body = b""
        if route.has_body:
            message = BODIES[route.method]
            body = json_format.MessageToJson(message, preserving_proto_field_name=True).encode()
            head += f"\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
        found.append(head.encode() + _END + body)
    found.append(b"GET /api/v1/sync/version?device_id=AAAAAAAAAAAAAAAAAAAAAA%3D%3D HTTP/1.1" + _END)
    return found
