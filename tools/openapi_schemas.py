"""JSON schemas of the API's messages, as REST sends them and as it accepts them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf.descriptor_pb2 import FieldDescriptorProto

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

PACKAGE: Final = "constellation.v1"
Comments = dict[str, str]
"""The comments of the .proto files, by the full name of what they describe."""

_Type = FieldDescriptorProto
_BASE64: Final = (
    "^(?:[A-Za-z0-9+/_-]{4})*(?:[A-Za-z0-9+/_-]{2}(?:==)?|[A-Za-z0-9+/_-]{3}=?)?$"  # either kind
)


def _build_range_pattern(largest: int) -> str:
    """Return a pattern for the numbers from 0 to `largest`; JSON Schema cannot limit a string."""
    digits = str(largest)
    shorter = f"[0-9]{{1,{len(digits) - 1}}}"
    smaller = [
        f"{digits[:at]}[0-{int(digit) - 1}][0-9]{{{len(digits) - at - 1}}}"
        for at, digit in enumerate(digits)
        if digit != "0"
    ]
    return f"(?:{'|'.join([shorter, *smaller, digits])})"


def _build_integer_schemas(
    name: str, smallest: int, largest: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the schema of an integer written as a number, and of one written as a string."""
    negative = f"|-{_build_range_pattern(-smallest)}" if smallest else ""
    return (
        {"format": name, "minimum": smallest, "maximum": largest},
        {"format": name, "pattern": f"^(?:{_build_range_pattern(largest)}{negative})$"},
    )


_INT32, _INT32_TEXT = _build_integer_schemas("int32", -(2**31), 2**31 - 1)
_UINT32, _UINT32_TEXT = _build_integer_schemas("uint32", 0, 2**32 - 1)
_INT64, _INT64_TEXT = _build_integer_schemas("int64", -(2**63), 2**63 - 1)
_UINT64, _UINT64_TEXT = _build_integer_schemas("uint64", 0, 2**64 - 1)
_RESPONSE_TYPES: Final[dict[int, dict[str, Any]]] = {
    _Type.TYPE_DOUBLE: {"type": "number", "format": "double"},
    _Type.TYPE_FLOAT: {"type": "number", "format": "float"},
    _Type.TYPE_INT32: {"type": "integer", **_INT32},
    _Type.TYPE_UINT32: {"type": "integer", **_UINT32},
    _Type.TYPE_FIXED32: {"type": "integer", **_UINT32},
    _Type.TYPE_INT64: {"type": "string", **_INT64_TEXT},
    _Type.TYPE_UINT64: {"type": "string", **_UINT64_TEXT},
    _Type.TYPE_FIXED64: {"type": "string", **_UINT64_TEXT},
    _Type.TYPE_BOOL: {"type": "boolean"},
    _Type.TYPE_STRING: {"type": "string"},
    _Type.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
}
_NUMBER_TEXT: Final = r"^(-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?|NaN|-?Infinity)$"
_PARAMETER_TYPES: Final = _RESPONSE_TYPES | {
    _Type.TYPE_BYTES: {"type": "string", "pattern": _BASE64}
}
_REQUEST_TYPES: Final = _PARAMETER_TYPES | {
    _Type.TYPE_DOUBLE: {"type": ["number", "string"], "format": "double", "pattern": _NUMBER_TEXT},
    _Type.TYPE_FLOAT: {"type": ["number", "string"], "format": "float", "pattern": _NUMBER_TEXT},
    _Type.TYPE_INT32: {"type": ["integer", "string"], **_INT32, **_INT32_TEXT},
    _Type.TYPE_UINT32: {"type": ["integer", "string"], **_UINT32, **_UINT32_TEXT},
    _Type.TYPE_FIXED32: {"type": ["integer", "string"], **_UINT32, **_UINT32_TEXT},
    _Type.TYPE_INT64: {"type": ["string", "integer"], **_INT64, **_INT64_TEXT},
    _Type.TYPE_UINT64: {"type": ["string", "integer"], **_UINT64, **_UINT64_TEXT},
    _Type.TYPE_FIXED64: {"type": ["string", "integer"], **_UINT64, **_UINT64_TEXT},
}
"""The schemas of a request body, in which proto3 JSON allows several forms."""
_WELL_KNOWN: Final[dict[str, dict[str, Any]]] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$"},
    "google.protobuf.Any": {
        "type": "object",
        "required": ["@type"],
        "properties": {"@type": {"type": "string"}},
        "additionalProperties": True,
    },
}


class Schemas:
    """The schemas that the document refers to; each is made once.

    A message of requests and responses has two, `Content` and `ContentInput`, because requests
    accept more forms than responses have.
    """

    def __init__(
        self, comments: Comments, *, received: Iterable[Descriptor], sent: Iterable[Descriptor]
    ) -> None:
        self._comments = comments
        self._bidirectional = _collect_messages(received) & _collect_messages(sent)
        self.components: dict[str, Any] = {}

    def refer_to_message(self, message: Descriptor, *, received: bool) -> dict[str, Any]:
        """Return a reference to a message's schema; the first reference makes the schema."""
        both = message.full_name in self._bidirectional
        name = f"{message.name}Input" if received and both else message.name
        if name not in self.components:
            self.components[name] = {}  # before its fields, which may refer to it again
            self.components[name] = {
                "type": "object",
                "description": self._comments.get(message.full_name, ""),
                "additionalProperties": False,
                "properties": {
                    field.name: self._build_field_schema(field, received=received)
                    for field in message.fields
                },
            }
            always = [field.name for field in message.fields if not field.has_presence]
            if always and not received:
                self.components[name]["required"] = always
        return {"$ref": f"#/components/schemas/{name}"}

    def build_parameter_schema(self, field: FieldDescriptor) -> dict[str, Any]:
        """Return the schema of a field that is a parameter of the path or the query."""
        if field.message_type is not None:
            raise SystemExit(f"{field.full_name} is a message: it cannot be a parameter of a route")
        if field.enum_type is not None:
            schema = self._refer_to_enum(field.enum_type, received=True)
        else:
            schema = dict(_PARAMETER_TYPES[field.type])
        return {"type": "array", "items": schema} if field.is_repeated else schema

    def _build_field_schema(self, field: FieldDescriptor, *, received: bool) -> dict[str, Any]:
        text = self._comments.get(field.full_name)
        if field.message_type is not None:
            known = _WELL_KNOWN.get(field.message_type.full_name)
            schema = (
                dict(known)
                if known
                else self.refer_to_message(field.message_type, received=received)
            )
        elif field.enum_type is not None:
            schema = self._refer_to_enum(field.enum_type, received=received)
        else:
            schema = dict((_REQUEST_TYPES if received else _RESPONSE_TYPES)[field.type])
        if field.is_repeated:
            schema = {"type": "array", "items": schema}
        return schema | ({"description": text} if text else {})

    def _refer_to_enum(self, enum: EnumDescriptor, *, received: bool) -> dict[str, Any]:
        if enum.name not in self.components:
            lines = [
                f"- `{value.name}`: {self._comments.get(f'{PACKAGE}.{value.name}', '')}"
                for value in enum.values
            ]
            self.components[enum.name] = {
                "type": "string",
                "description": "\n".join([self._comments.get(enum.full_name, ""), "", *lines]),
                "enum": [value.name for value in enum.values],
            }
        name = {"$ref": f"#/components/schemas/{enum.name}"}
        if not received:
            return name
        number = {"type": "integer", "enum": [value.number for value in enum.values]}
        return {"anyOf": [name, number]}


def _collect_messages(messages: Iterable[Descriptor]) -> set[str]:
    """Return the full names of some messages, and of all messages that their fields contain."""
    found: set[str] = set()
    pending = list(messages)
    while pending:
        message = pending.pop()
        if message.full_name not in found:
            found.add(message.full_name)
            pending += [field.message_type for field in message.fields if field.message_type]
    return found
