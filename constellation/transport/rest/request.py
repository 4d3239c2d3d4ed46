"""The parts of a REST request: path, query, headers and body, each parsed strictly."""

from __future__ import annotations

import json
import re
from email.message import Message as Headers
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, unquote, unquote_to_bytes

from constellation.transport.rest.errors import (
    BodyTooLargeError,
    FieldError,
    MalformedBodyError,
    MediaTypeError,
    NotAcceptableError,
    format_value,
)

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

MAX_BODY_BYTES: Final = 1 << 20
_MAX_PARAMETERS: Final = 1000
_ABSOLUTE_FORM: Final = re.compile(rb"https?://[^/]*", re.IGNORECASE)
_JSON: Final = "application/json"
_SPECIFICITY: Final = {"*/*": 0, "application/*": 1, _JSON: 2}


class OriginForm:
    """Middleware that turns a target in absolute form, as proxies send it, into its path.

    A server must accept `GET http://host/path HTTP/1.1` (RFC 9112, 3.2.2).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (found := _ABSOLUTE_FORM.match(scope["raw_path"])):
            raw_path = scope["raw_path"][found.end() :] or b"/"
            scope = {**scope, "raw_path": raw_path, "path": unquote(raw_path.decode("latin-1"))}
        await self._app(scope, receive, send)


def match_path(template: str, sent: bytes) -> dict[str, bytes] | None:
    """Return the values of a template's parameters in a path as it was sent; None without a match.

    A value is one segment. A slash in it is sent as %2F, so the path must not be decoded as a
    whole.
    """
    wanted, given = template.split("/"), sent.split(b"/")
    if len(wanted) != len(given):
        return None
    values = {}
    for want, got in zip(wanted, given, strict=True):
        value = unquote_to_bytes(got)
        if want.startswith("{") and value:
            values[want[1:-1]] = value
        elif want.encode() != value:
            return None
    return values


def decode_segment(name: str, value: bytes) -> str:
    """Return a segment of the path as text. Raises FieldError unless it is UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise FieldError(name, f"must be UTF-8, got {format_value(value)}") from None


def parse_query(query: bytes) -> dict[str, list[str]]:
    """Return all values of each parameter of the query. Raises FieldError for an invalid query."""
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MAX_PARAMETERS,
        )
    except UnicodeDecodeError:
        raise FieldError("query", "must be percent-encoded UTF-8") from None
    except ValueError:
        raise FieldError("query", f"must have at most {_MAX_PARAMETERS} parameters") from None
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return values


def require_acceptable(request: Request) -> None:
    """Raise NotAcceptableError unless the Accept header allows JSON; its closest range decides."""
    accepted = ",".join(request.headers.getlist("accept"))
    best, best_quality = -1, 0.0 if accepted.strip() else 1.0
    for each in accepted.split(","):
        kind, _, parameters = each.partition(";")
        specificity = _SPECIFICITY.get(kind.strip().lower(), -1)
        if specificity > best:
            best, best_quality = specificity, _parse_quality(parameters)
    if not best_quality:
        raise NotAcceptableError(
            f"responses are {_JSON}, but accept is {format_value(accepted)}: accept {_JSON}"
        )


def _parse_quality(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 1.0
    return 1.0


async def read_body(request: Request, *, optional: bool) -> dict[str, Any]:
    """Return the JSON object of the body; an empty one without a body, when it is optional.

    Raises BodyTooLargeError, MediaTypeError or MalformedBodyError.
    """
    length = request.headers.get("content-length", "0")
    if length != "0" or "transfer-encoding" in request.headers:
        _require_json_type(request)
    if int(length) > MAX_BODY_BYTES:
        raise BodyTooLargeError(MAX_BODY_BYTES)
    sent = bytearray()
    async for chunk in request.stream():
        sent += chunk
        if len(sent) > MAX_BODY_BYTES:
            raise BodyTooLargeError(MAX_BODY_BYTES)
    return {} if optional and not sent else _parse_json(bytes(sent))


def _require_json_type(request: Request) -> None:
    sent = request.headers.get("content-type", "")
    parsed = Headers()
    parsed["content-type"] = sent
    if not sent or parsed.get_content_type() != _JSON:
        raise MediaTypeError(f"content-type must be {_JSON}, got {format_value(sent)}")
    if parsed.get_content_charset("utf-8") not in ("utf-8", "utf8"):
        raise MediaTypeError(
            f"content-type must have charset utf-8 or none, got {format_value(sent)}"
        )
    coding = request.headers.get("content-encoding", "identity")
    if coding.lower() != "identity":
        raise MediaTypeError(
            f"content-encoding must be identity or none, got {format_value(coding)}"
        )


def _parse_json(sent: bytes) -> dict[str, Any]:
    try:
        values = json.loads(
            sent.decode(),
            object_pairs_hook=_require_distinct_names,
            parse_constant=_reject_constant,
        )
    except UnicodeDecodeError as error:
        raise MalformedBodyError(f"the body must be UTF-8: byte {error.start} is not") from None
    except RecursionError:
        raise MalformedBodyError("the body must be JSON that is less deeply nested") from None
    except ValueError as error:
        raise MalformedBodyError(f"the body must be JSON: {error}") from None
    if not isinstance(values, dict):
        raise MalformedBodyError(f"the body must be a JSON object, got {format_value(values)}")
    return values


def _require_distinct_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise MalformedBodyError(
            f"the body must name each field once, got {format_value(twice)} again"
        )
    return values


def _reject_constant(constant: str) -> None:
    raise MalformedBodyError(f'the body must be JSON: {constant} is not, but "{constant}" may be')
