"""A client that asks and does not read: its HTTP/2 window is closed."""

from __future__ import annotations

import asyncio
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS = 0, 1, 4
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_INITIAL_WINDOW_SIZE = 4


@asynccontextmanager
async def open_stalled_call(port: int, path: str) -> AsyncIterator[asyncio.StreamReader]:
    """Make a call with an empty message, and keep it open; yield what the server sends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "deaf",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    writer.write(_PREFACE)
    writer.write(_encode_frame(_SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW_SIZE, 0)))
    block = b"".join(_encode_header(*each) for each in headers.items())
    writer.write(_encode_frame(_HEADERS, _END_HEADERS, 1, block))
    writer.write(_encode_frame(_DATA, _END_STREAM, 1, bytes(5)))
    try:
        await _wait_for_handshake(reader, writer)
        yield reader
    finally:
        writer.close()


async def send_call(port: int, path: bytes) -> None:
    """Begin a call of any path, and leave."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    fields = {b":method": b"POST", b":scheme": b"http", b":path": path, b":authority": b"x"}
    fields |= {b"content-type": b"application/grpc", b"te": b"trailers"}
    block = b"".join(_encode_field(*each) for each in fields.items())
    writer.write(_PREFACE + _encode_frame(_SETTINGS, 0, 0))
    writer.write(_encode_frame(_HEADERS, _END_HEADERS, 1, block))
    await writer.drain()
    writer.close()


async def _wait_for_handshake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Return once the server has accepted the settings, and answered the headers."""
    seen: set[tuple[int, int]] = set()
    while not {(_SETTINGS, _ACK), (_HEADERS, _END_HEADERS)} <= seen:
        head = await reader.readexactly(9)
        await reader.readexactly(int.from_bytes(head[:3], "big"))
        seen.add((head[3], head[4]))
        if head[3] == _SETTINGS and not head[4] & _ACK:
            writer.write(_encode_frame(_SETTINGS, _ACK, 0))


def _encode_frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _encode_header(name: str, value: str) -> bytes:
    """Return a header without compression: HPACK, literal without indexing, short."""
    return _encode_field(name.encode(), value.encode())


def _encode_field(name: bytes, value: bytes) -> bytes:
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value
