"""The OpenAPI document of the API's REST form: its description, its paths and its errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tools.openapi_schemas import PACKAGE, Comments, Schemas

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.descriptor_pool import DescriptorPool

_API_DESCRIPTION: Final = """\
Health and operations over HTTP, generated from proto/constellation/v1. All other methods are \
available over gRPC only.

JSON follows the proto3 mapping, with the field names of the .proto files. 64-bit numbers are \
strings; a request body may also use numbers. Bytes are base64; a request may also use the \
URL-safe alphabet, and may omit the padding. Enums are names; a request may also use numbers. \
Requests are parsed strictly: a field that is unknown, given twice or null is an error. A body is \
UTF-8 and at most 1 MiB.

Every path that supports GET also supports HEAD, and every path supports OPTIONS. No path ends in \
a slash."""
_SEGMENT_NOTE: Final = (
    "This is one segment of the path, percent-encoded: send a slash in it as %2F. `.` and `..` are "
    "impossible here, because clients and proxies remove them from a path."
)
_ERROR_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "description": "An error, in the form of AIP-193.",
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
                    "description": "A description for people. Programs read `details`.",
                },
                "status": {
                    "type": "string",
                    "pattern": "^[A-Z][A-Z_]*$",
                    "description": "The name of the gRPC status.",
                },
                "details": {
                    "type": "array",
                    "minItems": 1,
                    "description": "Messages of google.rpc; `@type` names the type of each. One is "
                    "an ErrorInfo, whose `reason` is for programs and whose `domain` is "
                    "constellation. A BadRequest names the invalid field. A RetryInfo states how "
                    "long to wait before the next attempt.",
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
        "description": "The seconds to wait before the next attempt. Sent with 429 and 503.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "Allow": {
        "description": "The methods that the path supports. Sent with 405.",
        "schema": {"type": "string"},
    },
}


def build_document(
    routes: Sequence[dict[str, Any]], comments: Comments, pool: DescriptorPool, version: str
) -> dict[str, Any]:
    """Return the OpenAPI document of some routes; descriptions come from the .proto comments."""
    schemas = Schemas(
        comments,
        received=[pool.FindMessageTypeByName(route["request"]) for route in routes],
        sent=[pool.FindMessageTypeByName(route["response"]) for route in routes],
    )
    paths: dict[str, Any] = {}
    for route in sorted(routes, key=lambda route: (route["path"], route["verb"])):
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
            "200": _build_json_content("The response.", response),
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
            "The process does not accept traffic.", {"anyOf": [response, _ERROR_REFERENCE]}
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
