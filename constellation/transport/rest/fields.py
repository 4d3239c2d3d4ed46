"""Converts requests of REST to messages, and checks every field first, so that errors name it.

protobuf's own parser is too lenient: it drops characters that are not base64, reads "1_0" as 10,
and uses the last of two spellings of a field.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any, Final

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor as Field

from constellation.transport.rest.errors import FieldError, format_value

if TYPE_CHECKING:
    from google.protobuf.message import Message

_RANGES: Final = {
    Field.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    Field.CPPTYPE_UINT32: (0, 2**32 - 1),
    Field.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    Field.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_MAX_FLOAT: Final = (2 - 2**-23) * 2.0**127
_MAX_DOUBLE: Final = sys.float_info.max
_INTEGER: Final = re.compile(r"-?[0-9]{1,20}")
_NUMBER: Final = re.compile(r"-?[0-9]{1,400}(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,3})?")
_NOT_NUMBERS: Final = ("NaN", "Infinity", "-Infinity")
_BASE64: Final = re.compile(
    r"(?:[A-Za-z0-9+/_-]{4})*(?:[A-Za-z0-9+/_-]{2}(?:==)?|[A-Za-z0-9+/_-]{3}=?)?"
)
"""Base64 in the standard or the URL-safe alphabet, with or without padding."""


def to_message(kind: type[Message], values: dict[str, Any]) -> Message:
    """Return the message with the given JSON values. Raises FieldError for the first bad one."""
    _check_message(kind.DESCRIPTOR, values, "")
    try:
        return json_format.ParseDict(values, kind())
    except json_format.ParseError as error:  # a time or a duration, which only protobuf parses
        raise FieldError("body", f"cannot be read: {error}") from None


def to_json_value(field: Any, texts: list[str], name: str) -> Any:
    """Return the JSON value of a parameter, given the texts of all its occurrences.

    Raises FieldError for several occurrences of a field that is not repeated.
    """
    if field.is_repeated:
        return [_parse_text(field, text, name) for text in texts]
    if len(texts) > 1:
        raise FieldError(name, f"must be given once, got {len(texts)} values")
    return _parse_text(field, texts[0], name)


def _parse_text(field: Any, text: str, name: str) -> Any:
    """Return a parameter's text as JSON has it: a bool, an enum's number, or the text itself."""
    if field.cpp_type == Field.CPPTYPE_BOOL:
        if text not in ("true", "false"):
            raise FieldError(name, f"must be true or false, got {format_value(text)}")
        return text == "true"
    if field.cpp_type == Field.CPPTYPE_ENUM and _INTEGER.fullmatch(text):
        return int(text)
    return text


def _check_message(kind: Any, values: Any, parent: str) -> None:
    if not isinstance(values, dict):
        raise FieldError(parent, f"must be an object, got {format_value(values)}")
    names = {each.json_name: each.name for each in kind.fields} | {
        each.name: each.name for each in kind.fields
    }
    seen = set()
    for key, value in values.items():
        path = f"{parent}.{key}" if parent else key
        name = names.get(key)
        if name is None:
            known = ", ".join(each.name for each in kind.fields) or "nothing"
            raise FieldError(path, f"is unknown: {kind.name} has {known}")
        if name in seen:
            raise FieldError(path, f"is given twice: as {name} and as {key}")
        seen.add(name)
        _check_field(kind.fields_by_name[name], value, path)


def _check_field(field: Any, value: Any, path: str) -> None:
    if not field.is_repeated:
        _check_value(field, value, path)
        return
    if not isinstance(value, list):
        raise FieldError(path, f"must be an array, got {format_value(value)}")
    for number, each in enumerate(value):
        _check_value(field, each, f"{path}[{number}]")


def _check_value(field: Any, value: Any, path: str) -> None:
    if value is None:
        raise FieldError(path, "must not be null: leave it out")
    if field.message_type is not None:
        if not field.message_type.full_name.startswith("google.protobuf."):
            _check_message(field.message_type, value, path)
    elif problem := _find_problem(field, value):
        raise FieldError(path, f"must be {problem}, got {format_value(value)}")


def _find_problem(field: Any, value: Any) -> str:
    """Return what a scalar must be, when it is invalid; an empty text when it is valid."""
    if field.cpp_type in _RANGES:
        low, high = _RANGES[field.cpp_type]
        return "" if _is_integer(value, low, high) else f"an integer from {low} to {high}"
    match field.cpp_type:
        case Field.CPPTYPE_BOOL:
            return "" if isinstance(value, bool) else "true or false"
        case Field.CPPTYPE_ENUM:
            return _find_enum_problem(field, value)
        case Field.CPPTYPE_STRING if field.type == Field.TYPE_BYTES:
            return "" if isinstance(value, str) and _BASE64.fullmatch(value) else "base64"
        case Field.CPPTYPE_STRING:
            return "" if isinstance(value, str) and _is_unicode(value) else "a string of Unicode"
        case _:
            wide = field.cpp_type == Field.CPPTYPE_DOUBLE
            limit = _MAX_DOUBLE if wide else _MAX_FLOAT
            return "" if _is_number(value, limit) else f"a number from {-limit:g} to {limit:g}"


def _is_integer(value: Any, low: int, high: int) -> bool:
    if isinstance(value, str):
        return bool(_INTEGER.fullmatch(value)) and low <= int(value) <= high
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return low <= value <= high and value == int(value)


def _is_number(value: Any, limit: float) -> bool:
    if isinstance(value, str):
        return value in _NOT_NUMBERS or (
            bool(_NUMBER.fullmatch(value)) and abs(float(value)) <= limit
        )
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= limit


def _is_unicode(text: str) -> bool:
    """Return whether a text is Unicode: JSON may contain one half of a surrogate pair."""
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def _find_enum_problem(field: Any, value: Any) -> str:
    names = [each.name for each in field.enum_type.values]
    numbers = [each.number for each in field.enum_type.values]
    # protobuf's own lookup by name fails silently for a text that is not UTF-8
    known = names if isinstance(value, str) else numbers
    if isinstance(value, str | int | float) and not isinstance(value, bool) and value in known:
        return ""
    return f"one of {', '.join(names)}"
