"""Messages of at most a kilobyte that are as dear as their type allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from google.protobuf.descriptor import FieldDescriptor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor

MAX_BYTES: Final = 1024
_LARGEST_VARINT: Final = b"\xff" * 9 + b"\x01"
_MAX_DEPTH: Final = 5
_UNKNOWN_FIELD: Final = 1999
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_WIRE_TYPES: Final = {
    FieldDescriptor.TYPE_DOUBLE: _FIXED64,
    FieldDescriptor.TYPE_FIXED64: _FIXED64,
    FieldDescriptor.TYPE_SFIXED64: _FIXED64,
    FieldDescriptor.TYPE_FLOAT: _FIXED32,
    FieldDescriptor.TYPE_FIXED32: _FIXED32,
    FieldDescriptor.TYPE_SFIXED32: _FIXED32,
    FieldDescriptor.TYPE_STRING: _LENGTH,
    FieldDescriptor.TYPE_BYTES: _LENGTH,
    FieldDescriptor.TYPE_MESSAGE: _LENGTH,
}


def make_worst_messages(message: Descriptor, prefix: bytes = b"") -> Iterator[tuple[str, bytes]]:
    """Yield messages of a type, each full of one field, down to the fields of its fields.

    Each begins with `prefix`, which has the fields that make it valid so far.
    """
    yield "nothing", prefix
    room = MAX_BYTES - len(prefix)
    unknown = _encode_varint(_UNKNOWN_FIELD << 3)
    yield "unknown fields", prefix + (unknown + b"\0") * (room // (len(unknown) + 1))
    for name, body in _fill(message, room, 0):
        yield name, prefix + body


def _fill(message: Descriptor, room: int, depth: int) -> Iterator[tuple[str, bytes]]:
    """Yield bytes that are full of one field each."""
    for field in message.fields:
        kind = _WIRE_TYPES.get(field.type, _VARINT)
        tag = _encode_varint(field.number << 3 | kind)
        packed = _encode_varint(field.number << 3 | _LENGTH)
        if kind != _LENGTH:
            size = {_VARINT: 1, _FIXED64: 8, _FIXED32: 4}[kind]
            largest = _LARGEST_VARINT if kind == _VARINT else b"\xff" * size
            yield f"{field.name}, largest", tag + largest
            if field.is_repeated:
                for value in (b"\0", b"\1", b"\x7f") if kind == _VARINT else (bytes(size),):
                    body = value * ((room - 4) // size)
                    yield f"{field.name} of {value.hex()}", _wrap(packed, body)
            continue
        yield f"{field.name}, long", _wrap(tag, b"a" * (room - len(tag) - 3))
        yield f"{field.name}, zeros", _wrap(tag, bytes((room - len(tag) - 3) // 16 * 16))
        if field.is_repeated:
            yield f"{field.name}, empty", (tag + b"\0") * (room // (len(tag) + 1))
            yield f"{field.name}, short", (tag + b"\1x") * (room // (len(tag) + 2))
        if field.message_type is not None and depth < _MAX_DEPTH:
            for name, body in _fill(field.message_type, room - len(tag) - 3, depth + 1):
                yield f"{field.name}.{name}", _wrap(tag, body)


def _wrap(tag: bytes, body: bytes) -> bytes:
    return tag + _encode_varint(len(body)) + body


def _encode_varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
