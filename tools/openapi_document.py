"""The OpenAPI document of the API's REST form: paths, what errors look like, and how to read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tools.openapi_schemas import PACKAGE, Comments, Schemas

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.descriptor_pool import DescriptorPool

_API_DESCRIPTION: Final = """\
Health and operations over HTTP, generated from proto/constellation/v1. Everything else is gRPC.

JSON is that of proto3, with the field names of the .proto files: 64-bit numbers are strings (a \
body may hold numbers), bytes are base64 (a request may use the URL-safe alphabet, and leave the \
padding out), enums are names (a request may use numbers). Requests are read strictly: what is \
unknown, given twice or null is refused. A body is UTF-8 and at most 1 MiB.

HEAD is answered wherever GET is, OPTIONS everywhere. A path has no slash at its end."""
_SEGMENT_NOTE: Final = (
    "One segment of the path, percent-encoded: a slash in it is sent as %2F. `.` and `..` cannot "
    "be named here, as clients and proxies take them out of a path."
)
_ERROR_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "description": "An error, as AIP-193 says.",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "status", "details"],
            "properties": {
                "code": {
                    "type": "integer",
                    "minimum": 400,
                    "maximum": 599,
                    "description": "The HTTP status.",
                },
                "message": {
                    "type": "string",
                    "description": "What is wrong, for people. Programs read `details`.",
                },
                "status": {
                    "type": "string",
                    "pattern": "^[A-Z][A-Z_]*$",
                    "description": "The gRPC status, by name.",
                },
                "details": {
                    "type": "array",
                    "minItems": 1,
                    "description": "Messages of google.rpc, each named by its `@type`. One is an "
                    "ErrorInfo: its `reason` is for programs, its `domain` constellation. A "
                    "BadRequest names the field that is wrong, a RetryInfo when to come back.",
                    "items": {
                        "type": "object",
                        "required": ["@type"],
                        "properties": {"@type": {"type": "string"}},
                        "additionalProperties": True,
                    },
                },
            },
        }
    },
}
_ERROR_REFERENCE: Final = {"$ref": "#/components/schemas/Error"}
_HEADERS: Final[dict[str, Any]] = {
    "Retry-After": {
        "description": "Seconds to wait before the next attempt; with 429 and 503.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "Allow": {
        "description": "The verbs that the path has; with 405.",
        "schema": {"type": "string"},
    },
}


def build_document(
    routes: Sequence[dict[str, Any]], comments: Comments, pool: DescriptorPool, version: str
) -> dict[str, Any]:
    """Return the document of some routes."""
    schemas = Schemas(
        comments,
        received=[pool.FindMessageTypeByName(route["request"]) for route in routes],
        sent=[pool.FindMessageTypeByName(route["response"]) for route in routes],
    )
    paths: dict[str, Any] = {}
    for route in sorted(routes, key=lambda each: (each["path"], each["verb"])):
        operation = _build_operation(route, comments, schemas, pool)
        paths.setdefault(route["path"], {})[route["verb"].lower()] = operation
    services = sorted({route["service"] for route in routes})
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Constellation",
            "version": version,
            "description": _API_DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": _to_short_name(service), "description": comments.get(service, "")}
            for service in services
        ],
        "paths": paths,
        "components": {
            "schemas": dict(sorted({"Error": _ERROR_SCHEMA, **schemas.components}.items())),
            "responses": {
                "Error": _build_json_content("An error.", _ERROR_REFERENCE) | {"headers": _HEADERS}
            },
        },
    }


def _build_operation(
    route: dict[str, Any], comments: Comments, schemas: Schemas, pool: DescriptorPool
) -> dict[str, Any]:
    request = pool.FindMessageTypeByName(route["request"])
    response = schemas.refer_to_message(
        pool.FindMessageTypeByName(route["response"]), received=False
    )
    text = comments.get(f"{route['service']}.{route['method']}", "")
    operation: dict[str, Any] = {
        "operationId": f"{_to_short_name(route['service'])}_{route['method']}",
        "tags": [_to_short_name(route["service"])],
        "summary": text.partition(". ")[0].removesuffix("."),
        "description": text,
        "parameters": [
            _build_parameter(field, comments, schemas, in_path=field.name in route["parameters"])
            for field in request.fields
            if field.name in route["parameters"] or not route["has_body"]
        ],
        "responses": {
            "200": _build_json_content("The answer.", response),
            "default": {"$ref": "#/components/responses/Error"},
        },
    }
    if route["has_body"]:
        schema = schemas.refer_to_message(request, received=True)
        operation["requestBody"] = {
            "required": bool(request.fields),
            "content": {"application/json": {"schema": schema}},
        }
    if route["unavailable_when"]:
        unavailable = _build_json_content(
            "Send no traffic here.", {"anyOf": [response, _ERROR_REFERENCE]}
        )
        operation["responses"]["503"] = unavailable | {
            "headers": {"Retry-After": _HEADERS["Retry-After"]}
        }
    return operation


def _build_parameter(
    field: FieldDescriptor, comments: Comments, schemas: Schemas, *, in_path: bool
) -> dict[str, Any]:
    text = comments.get(field.full_name, "")
    schema = schemas.build_parameter_schema(field)
    if in_path and schema.get("type") == "string" and "format" not in schema:
        schema |= {"minLength": 1}
        text = f"{text} {_SEGMENT_NOTE}"
    return {
        "name": field.name,
        "in": "path" if in_path else "query",
        "required": in_path,
        "description": text,
        "schema": schema,
    }


def _build_json_content(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _to_short_name(service: str) -> str:
    return service.removeprefix(f"{PACKAGE}.")
