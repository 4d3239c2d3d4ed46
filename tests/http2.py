"""HTTP/2 by hand, for what no gRPC client would send: frames, and headers without compression."""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD_BYTES: Final = 9
EMPTY_MESSAGE: Final = bytes(5)
"""A gRPC message without a field, as the payload of a DATA frame."""


class Kind(IntEnum):
    """What a frame is."""

    DATA = 0
    HEADERS = 1
    RST_STREAM = 3
    SETTINGS = 4
    GOAWAY = 7


class Flag(IntFlag):
    """What a frame's flags mean; SETTINGS have ACK where others have END_STREAM."""

    NONE = 0
    ACK = 1
    END_STREAM = 1
    END_HEADERS = 4


def encode_frame(
    kind: Kind, stream: int = 0, payload: bytes = b"", flags: Flag = Flag.NONE
) -> bytes:
    head = struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream)
    return head + payload


def encode_headers(path: bytes, **more: bytes) -> bytes:
    """Return the headers of a gRPC call: HPACK, literal without indexing, each below 127 bytes.

    A name in `more` has underscores in place of hyphens.
    """
    fields: Mapping[bytes, bytes] = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": path,
        b":authority": b"x",
        b"content-type": b"application/grpc",
        b"te": b"trailers",
        **{name.replace("_", "-").encode(): value for name, value in more.items()},
    }
    return b"".join(
        b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value
        for name, value in fields.items()
    )


async def read_frame(reader: asyncio.StreamReader) -> tuple[Kind | int, Flag, int, bytes]:
    """Return the kind, the flags, the stream and the payload of the next frame.

    Raises IncompleteReadError when the connection ends.
    """
    head = await reader.readexactly(HEAD_BYTES)
    payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
    kind = Kind(head[3]) if head[3] in set(Kind) else head[3]
    return kind, Flag(head[4]), int.from_bytes(head[5:], "big"), payload
