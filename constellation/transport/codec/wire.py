"""The wire format of protobuf, for messages that are joined from parts which are encoded already.

A message is its fields, one after another, in any order. So the bytes of two messages of one type
are together one message that has the fields of both, and an encoded part can go into many messages.
https://protobuf.dev/programming-guides/encoding/ is the specification.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_VARINT: Final = 0
_LENGTH_DELIMITED: Final = 2
SMALL_LIMIT: Final = 128
"""Numbers below this are one byte, the same as in a column of bytes."""
_SMALL: Final = tuple(bytes([number]) for number in range(SMALL_LIMIT))


def encode_varint(number: int) -> bytes:
    """Return a number that is not negative as a varint."""
    if number < SMALL_LIMIT:
        return _SMALL[number]
    encoded = bytearray()
    while number >= SMALL_LIMIT:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def encode_varints(numbers: Iterable[int]) -> bytes:
    """Return numbers that are not negative as varints: the content of a packed field."""
    return b"".join(map(encode_varint, numbers))


def make_tag(field: int) -> bytes:
    """Return what precedes a field of bytes, of a text, of a message or of packed numbers."""
    return encode_varint(field << 3 | _LENGTH_DELIMITED)


def make_number_tag(field: int) -> bytes:
    """Return what precedes a field of one integer, enum or bool."""
    return encode_varint(field << 3 | _VARINT)


def frame(tag: bytes, content: bytes) -> bytes:
    """Return a field with its tag; nothing when it is empty, which is what absence means."""
    return tag + encode_varint(len(content)) + content if content else b""


def frame_message(tag: bytes, content: bytes) -> bytes:
    """Return a field that is a message; an empty message is present as well."""
    return tag + encode_varint(len(content)) + content


def frame_number(tag: bytes, number: int) -> bytes:
    """Return a field of one integer; nothing for 0, which is what absence means."""
    return tag + encode_varint(number) if number else b""
