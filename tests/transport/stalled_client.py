"""A client that asks and does not read: its HTTP/2 window is closed."""

from __future__ import annotations

import asyncio
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.http2 import (
    EMPTY_MESSAGE,
    PREFACE,
    Flag,
    Kind,
    encode_frame,
    encode_headers,
    read_frame,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_INITIAL_WINDOW_SIZE = 4


@asynccontextmanager
async def open_stalled_call(port: int, path: str) -> AsyncIterator[asyncio.StreamReader]:
    """Make a call with an empty message, and keep it open; yield what the server sends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(PREFACE)
    writer.write(encode_frame(Kind.SETTINGS, payload=struct.pack(">HI", _INITIAL_WINDOW_SIZE, 0)))
    writer.write(encode_frame(Kind.HEADERS, 1, encode_headers(path.encode()), Flag.END_HEADERS))
    writer.write(encode_frame(Kind.DATA, 1, EMPTY_MESSAGE, Flag.END_STREAM))
    try:
        await _wait_for_handshake(reader, writer)
        yield reader
    finally:
        writer.close()


async def send_call(port: int, path: bytes) -> None:
    """Begin a call of any path, and leave."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(PREFACE + encode_frame(Kind.SETTINGS))
    writer.write(encode_frame(Kind.HEADERS, 1, encode_headers(path), Flag.END_HEADERS))
    await writer.drain()
    writer.close()


async def _wait_for_handshake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Return once the server has accepted the settings, and answered the headers."""
    seen: set[tuple[int, Flag]] = set()
    while not {(Kind.SETTINGS, Flag.ACK), (Kind.HEADERS, Flag.END_HEADERS)} <= seen:
        kind, flags, _, _ = await read_frame(reader)
        seen.add((kind, flags))
        if kind == Kind.SETTINGS and not flags & Flag.ACK:
            writer.write(encode_frame(Kind.SETTINGS, flags=Flag.ACK))
