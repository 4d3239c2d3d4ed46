"""Requests of REST: path, query, headers and body, each read strictly."""

from __future__ import annotations

import json
from email.message import Message as Headers
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, unquote_to_bytes

from constellation.transport.rest.errors import (
    BodyTooLargeError,
    FieldError,
    MalformedBodyError,
    MediaTypeError,
    NotAcceptableError,
    shown,
)

if TYPE_CHECKING:
    from starlette.requests import Request

MAX_BODY_BYTES: Final = 1 << 20
_MAX_PARAMETERS: Final = 1000
_JSON: Final = "application/json"
_SPECIFICITY: Final = {"*/*": 0, "application/*": 1, _JSON: 2}


def path_values(template: str, sent: bytes) -> dict[str, bytes] | None:
    """Return what a path, as it was sent, has in the places of a template; None if it is another.

    A value is one segment: a slash in it comes as %2F, so the path must not be decoded as a whole.
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


def to_text(name: str, value: bytes) -> str:
    """Return a part of the path as text."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise FieldError(name, f"must be UTF-8, got {shown(value)}") from None


def query_values(query: bytes) -> dict[str, list[str]]:
    """Return the query's parameters, each with all its values."""
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
    """Check that the caller reads JSON: the range that names it most exactly decides."""
    accepted = ",".join(request.headers.getlist("accept"))
    best, best_quality = -1, 0.0 if accepted.strip() else 1.0
    for each in accepted.split(","):
        kind, _, parameters = each.partition(";")
        specificity = _SPECIFICITY.get(kind.strip().lower(), -1)
        if specificity > best:
            best, best_quality = specificity, _quality(parameters)
    if not best_quality:
        raise NotAcceptableError(f"answers are {_JSON}, but accept is {shown(accepted)}")


def _quality(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 1.0
    return 1.0


async def body_values(request: Request, *, optional: bool) -> dict[str, Any]:
    """Return the JSON object of the body; no body at all is an empty one where it is optional."""
    length = request.headers.get("content-length", "0")
    if length != "0" or "transfer-encoding" in request.headers:
        _require_json(request)
    if int(length) > MAX_BODY_BYTES:
        raise BodyTooLargeError(MAX_BODY_BYTES)
    sent = bytearray()
    async for chunk in request.stream():
        sent += chunk
        if len(sent) > MAX_BODY_BYTES:
            raise BodyTooLargeError(MAX_BODY_BYTES)
    return {} if optional and not sent else _decoded(bytes(sent))


def _require_json(request: Request) -> None:
    sent = request.headers.get("content-type", "")
    parsed = Headers()
    parsed["content-type"] = sent
    if not sent or parsed.get_content_type() != _JSON:
        raise MediaTypeError(f"content-type must be {_JSON}, got {shown(sent)}")
    if parsed.get_content_charset("utf-8") not in ("utf-8", "utf8"):
        raise MediaTypeError(f"content-type must have charset utf-8 or none, got {shown(sent)}")
    coding = request.headers.get("content-encoding", "identity")
    if coding.lower() != "identity":
        raise MediaTypeError(f"content-encoding must be identity or none, got {shown(coding)}")


def _decoded(sent: bytes) -> dict[str, Any]:
    try:
        values = json.loads(
            sent.decode(), object_pairs_hook=_distinct, parse_constant=_refuse_constant
        )
    except UnicodeDecodeError as error:
        raise MalformedBodyError(f"the body must be UTF-8: byte {error.start} is not") from None
    except RecursionError:
        raise MalformedBodyError("the body must be JSON that is less deeply nested") from None
    except ValueError as error:
        raise MalformedBodyError(f"the body must be JSON: {error}") from None
    if not isinstance(values, dict):
        raise MalformedBodyError(f"the body must be a JSON object, got {shown(values)}")
    return values


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise MalformedBodyError(f"the body must name each field once, got {shown(twice)} again")
    return values


def _refuse_constant(constant: str) -> None:
    raise MalformedBodyError(f'the body must be JSON: {constant} is not, but "{constant}" may be')
