"""A protoc plugin that generates REST routes and an OpenAPI document from google.api.http options.

It writes constellation/v1/rest_routes.json and constellation/v1/openapi.json. A streaming method
has no REST form, so a route on one is an error.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from google.api import annotations_pb2
from google.protobuf.compiler import plugin_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from tools.openapi_document import build_document
from tools.openapi_schemas import PACKAGE, Comments

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor_pb2 import FileDescriptorProto, MethodDescriptorProto

OUTPUT_FOLDER: Final = "constellation/v1"
_PROJECT: Final = Path(__file__).resolve().parent.parent / "pyproject.toml"
_UNAVAILABLE_WHEN_NUMBER: Final = 50193
"""The field number of the extension `unavailable_when` in options.proto."""
_SERVICES, _METHODS, _MESSAGES, _FIELDS, _ENUMS, _VALUES = 6, 2, 4, 2, 5, 2
"""The field numbers in descriptor.proto of the elements that have comments."""
_PATH_PATTERN: Final = re.compile(r"(/([a-z0-9_:]+|{\w+}))+")
"""The paths that REST supports: a parameter is a whole segment, because it matches by segment."""


def main() -> None:
    request = plugin_pb2.CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
    response = generate(request)
    sys.stdout.buffer.write(response.SerializeToString())


def generate(request: plugin_pb2.CodeGeneratorRequest) -> plugin_pb2.CodeGeneratorResponse:
    """Return the two generated files. Raises SystemExit for an option that REST cannot serve."""
    pool = DescriptorPool()
    for file in request.proto_file:
        pool.AddSerializedFile(file.SerializeToString())
    files = [file for file in request.proto_file if file.package == PACKAGE]
    routes = [route for file in files for route in _read_routes(file, pool)]
    response = plugin_pb2.CodeGeneratorResponse(
        supported_features=plugin_pb2.CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL
    )
    comments: Comments = {}
    for file in files:
        comments |= dict(read_comments(file))
    version = tomllib.loads(_PROJECT.read_text("utf-8"))["project"]["version"]
    api = build_document(routes, comments, pool, version)
    for name, content in (("rest_routes.json", routes), ("openapi.json", api)):
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        response.file.add(name=f"{OUTPUT_FOLDER}/{name}", content=text)
    return response


def _read_routes(file: FileDescriptorProto, pool: DescriptorPool) -> Iterator[dict[str, Any]]:
    for service in file.service:
        for method in service.method:
            rule = method.options.Extensions[annotations_pb2.http]
            verb = rule.WhichOneof("pattern")
            if verb is None:
                continue
            if method.client_streaming or method.server_streaming:
                raise SystemExit(f"{service.name}.{method.name} streams, so it cannot have a route")
            if verb not in ("get", "post") or rule.body not in ("", "*"):
                raise SystemExit(
                    f"{service.name}.{method.name}: a route must be get, or post with body *"
                )
            path = getattr(rule, verb)
            if not _PATH_PATTERN.fullmatch(path):
                raise SystemExit(
                    f"{service.name}.{method.name}: {path} must consist of whole segments"
                )
            yield {
                "has_body": rule.body == "*",
                "method": method.name,
                "parameters": re.findall(r"{(\w+)}", path),
                "path": path,
                "request": method.input_type.lstrip("."),
                "response": method.output_type.lstrip("."),
                "service": f"{PACKAGE}.{service.name}",
                "unavailable_when": _read_unavailable_when(method, pool),
                "verb": verb.upper(),
            }


def _read_unavailable_when(method: MethodDescriptorProto, pool: DescriptorPool) -> list[str]:
    """Return the field and the value with which REST answers 503; an empty list without them."""
    options = GetMessageClass(pool.FindMessageTypeByName("google.protobuf.MethodOptions"))
    extension = pool.FindExtensionByName(f"{PACKAGE}.unavailable_when")
    assert extension.number == _UNAVAILABLE_WHEN_NUMBER
    known: Any = options.FromString(method.options.SerializeToString())
    text: str = known.Extensions[extension]
    return text.split("=") if text else []


def read_comments(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    """Yield full name and comment of each commented service, method, message, field or enum."""
    names = dict(_list_names(file))
    for location in file.source_code_info.location:
        name = names.get(tuple(location.path))
        if name and location.leading_comments:
            yield f"{PACKAGE}.{name}", _unwrap_comment(location.leading_comments)


def _list_names(file: FileDescriptorProto) -> Iterator[tuple[tuple[int, ...], str]]:
    for index, service in enumerate(file.service):
        yield (_SERVICES, index), service.name
        for number, method in enumerate(service.method):
            yield (_SERVICES, index, _METHODS, number), f"{service.name}.{method.name}"
    for index, message in enumerate(file.message_type):
        yield (_MESSAGES, index), message.name
        for number, field in enumerate(message.field):
            yield (_MESSAGES, index, _FIELDS, number), f"{message.name}.{field.name}"
    for index, enum in enumerate(file.enum_type):
        yield (_ENUMS, index), enum.name
        for number, value in enumerate(enum.value):  # a value is a sibling of its enum, as in C
            yield (_ENUMS, index, _VALUES, number), value.name


def _unwrap_comment(comment: str) -> str:
    """Return a comment with one line per paragraph; an empty line separates paragraphs."""
    lines = "\n".join(line.strip() for line in comment.strip().splitlines())
    return "\n\n".join(part.replace("\n", " ") for part in lines.split("\n\n"))


if __name__ == "__main__":
    main()
