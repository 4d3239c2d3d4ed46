"""A protoc plugin: the REST routes of the API and its OpenAPI document, from google.api.http.

Writes constellation/v1/rest_routes.json and constellation/v1/openapi.json. Streaming methods have
no REST form; one that claims a route is refused.
"""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any, Final

from google.api import annotations_pb2
from google.protobuf.compiler import plugin_pb2
from google.protobuf.descriptor_pb2 import (
    FieldDescriptorProto,
    FileDescriptorProto,
    MethodDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

PACKAGE: Final = "constellation.v1"
FOLDER: Final = "constellation/v1"
_UNAVAILABLE_WHEN: Final = 50193
"""The number of options.proto's extension."""
_SERVICE_FIELD, _METHOD_FIELD, _MESSAGE_FIELD, _FIELD_FIELD, _ENUM_FIELD = 6, 2, 4, 2, 5
"""Where descriptor.proto keeps what a comment may belong to."""
_Type = FieldDescriptorProto
_SCALARS: Final[dict[int, dict[str, Any]]] = {
    _Type.TYPE_DOUBLE: {"type": "number", "format": "double"},
    _Type.TYPE_FLOAT: {"type": "number", "format": "float"},
    _Type.TYPE_INT32: {"type": "integer", "format": "int32"},
    _Type.TYPE_UINT32: {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    _Type.TYPE_INT64: {"type": "string", "format": "int64"},
    _Type.TYPE_UINT64: {"type": "string", "format": "uint64"},
    _Type.TYPE_BOOL: {"type": "boolean"},
    _Type.TYPE_STRING: {"type": "string"},
    _Type.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
}
_WELL_KNOWN: Final[dict[str, dict[str, Any]]] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?s$"},
    "google.protobuf.Any": {"type": "object", "additionalProperties": True},
}
_ERROR: Final[dict[str, Any]] = {
    "type": "object",
    "description": "An error, as AIP-193 says.",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "status"],
            "properties": {
                "code": {"type": "integer", "description": "The HTTP status."},
                "message": {"type": "string"},
                "status": {"type": "string", "description": "The gRPC status, by name."},
                "details": {
                    "type": "array",
                    "items": {"type": "object", "additionalProperties": True},
                },
            },
        }
    },
}
_ERROR_REFERENCE: Final = {"$ref": "#/components/schemas/Error"}


def main() -> None:
    request = plugin_pb2.CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
    response = generate(request)
    sys.stdout.buffer.write(response.SerializeToString())


def generate(request: plugin_pb2.CodeGeneratorRequest) -> plugin_pb2.CodeGeneratorResponse:
    """Return the two files for the API's .proto files."""
    pool = DescriptorPool()
    for file in request.proto_file:
        pool.AddSerializedFile(file.SerializeToString())
    files = [file for file in request.proto_file if file.package == PACKAGE]
    routes = [route for file in files for route in _routes(file, pool)]
    response = plugin_pb2.CodeGeneratorResponse(
        supported_features=plugin_pb2.CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL
    )
    told = [{key: route[key] for key in sorted(route) if key != "summary"} for route in routes]
    document = _openapi(routes, files, pool)
    for name, content in (("rest_routes.json", told), ("openapi.json", document)):
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        response.file.add(name=f"{FOLDER}/{name}", content=text)
    return response


def _routes(file: FileDescriptorProto, pool: DescriptorPool) -> Iterator[dict[str, Any]]:
    comments = _comments(file)
    for place, service in enumerate(file.service):
        for number, method in enumerate(service.method):
            rule = method.options.Extensions[annotations_pb2.http]
            verb = rule.WhichOneof("pattern")
            if verb is None:
                continue
            if method.client_streaming or method.server_streaming:
                raise SystemExit(f"{service.name}.{method.name} streams: it can have no REST form")
            if verb not in ("get", "post") or rule.body not in ("", "*"):
                raise SystemExit(f"{service.name}.{method.name}: only get, and post with body *")
            path = getattr(rule, verb)
            yield {
                "verb": verb.upper(),
                "path": path,
                "parameters": re.findall(r"{(\w+)}", path),
                "has_body": rule.body == "*",
                "service": f"{PACKAGE}.{service.name}",
                "method": method.name,
                "request": method.input_type.lstrip("."),
                "response": method.output_type.lstrip("."),
                "unavailable_when": _unavailable_when(method, pool),
                "summary": comments.get((_SERVICE_FIELD, place, _METHOD_FIELD, number), ""),
            }


def _unavailable_when(method: MethodDescriptorProto, pool: DescriptorPool) -> list[str]:
    """Return the field and the value that make a REST answer 503; nothing for none."""
    options = GetMessageClass(pool.FindMessageTypeByName("google.protobuf.MethodOptions"))
    extension = pool.FindExtensionByName(f"{PACKAGE}.unavailable_when")
    assert extension.number == _UNAVAILABLE_WHEN
    known: Any = options.FromString(method.options.SerializeToString())
    text: str = known.Extensions[extension]
    return text.split("=") if text else []


def _openapi(
    routes: list[dict[str, Any]], files: list[FileDescriptorProto], pool: DescriptorPool
) -> dict[str, Any]:
    comments: dict[str, str] = {}
    for file in files:
        comments |= _named_comments(file)
    schemas: dict[str, Any] = {"Error": _ERROR}
    paths: dict[str, Any] = {}
    for route in sorted(routes, key=lambda each: (each["path"], each["verb"])):
        request = pool.FindMessageTypeByName(route["request"])
        response = pool.FindMessageTypeByName(route["response"])
        operation: dict[str, Any] = {
            "operationId": f"{route['service'].rpartition('.')[2]}_{route['method']}",
            "tags": [route["service"].rpartition(".")[2]],
            "summary": route["summary"].partition("\n")[0],
            "description": route["summary"],
            "parameters": [
                _parameter(field, comments, schemas, in_path=field.name in route["parameters"])
                for field in request.fields
                if field.name in route["parameters"] or not route["has_body"]
            ],
            "responses": {
                "200": _json("The answer.", _reference(response, comments, schemas)),
                "default": _json("An error.", _ERROR_REFERENCE),
            },
        }
        if route["has_body"]:
            schema = _reference(request, comments, schemas)
            operation["requestBody"] = {
                "required": True,
                "content": {"application/json": {"schema": schema}},
            }
        if route["unavailable_when"]:
            answers = [_reference(response, comments, schemas), _ERROR_REFERENCE]
            operation["responses"]["503"] = _json("Send no traffic here.", {"anyOf": answers})
        paths.setdefault(route["path"], {})[route["verb"].lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Constellation",
            "version": "v1",
            "description": "Health and operations over HTTP, from proto/constellation/v1. "
            "Everything else is gRPC.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": dict(sorted(schemas.items()))},
    }


def _parameter(
    field: FieldDescriptor, comments: dict[str, str], schemas: dict[str, Any], *, in_path: bool
) -> dict[str, Any]:
    return {
        "name": field.name,
        "in": "path" if in_path else "query",
        "required": in_path,
        "description": comments.get(field.full_name, ""),
        "schema": _field(field, comments, schemas),
    }


def _reference(
    message: Descriptor, comments: dict[str, str], schemas: dict[str, Any]
) -> dict[str, Any]:
    """Return a reference to a message's schema, made when it is the first."""
    name = message.full_name.removeprefix(f"{PACKAGE}.")
    if name not in schemas:
        schemas[name] = {}  # before its fields: they may come back to it
        schemas[name] = {
            "type": "object",
            "description": comments.get(message.full_name, ""),
            "additionalProperties": False,
            "properties": {
                field.name: _field(field, comments, schemas) for field in message.fields
            },
        }
    return {"$ref": f"#/components/schemas/{name}"}


def _field(
    field: FieldDescriptor, comments: dict[str, str], schemas: dict[str, Any]
) -> dict[str, Any]:
    text = {"description": comments[field.full_name]} if field.full_name in comments else {}
    if field.message_type is not None:
        known = _WELL_KNOWN.get(field.message_type.full_name)
        schema = dict(known) if known else _reference(field.message_type, comments, schemas)
    elif field.enum_type is not None:
        schema = _enum(field.enum_type)
    else:
        schema = dict(_SCALARS[field.type])
    if field.is_repeated:
        schema = {"type": "array", "items": schema}
    return schema | text


def _enum(enum: EnumDescriptor) -> dict[str, Any]:
    return {"type": "string", "enum": [value.name for value in enum.values]}


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _comments(file: FileDescriptorProto) -> dict[tuple[int, ...], str]:
    return {
        tuple(location.path): _text(location.leading_comments)
        for location in file.source_code_info.location
        if location.leading_comments
    }


def _named_comments(file: FileDescriptorProto) -> dict[str, str]:
    """Return the comments of messages and their fields, by full name."""
    found = _comments(file)
    named = {}
    for place, message in enumerate(file.message_type):
        name = f"{file.package}.{message.name}"
        named[name] = found.get((_MESSAGE_FIELD, place), "")
        for number, field in enumerate(message.field):
            path = (_MESSAGE_FIELD, place, _FIELD_FIELD, number)
            named[f"{name}.{field.name}"] = found.get(path, "")
    return {name: text for name, text in named.items() if text}


def _text(comment: str) -> str:
    return "\n".join(line.strip() for line in comment.strip().splitlines())


if __name__ == "__main__":
    main()
