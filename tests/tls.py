"""TLS in front of a real shard, as a proxy does it: in a thread, with certificates of its own."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

SERVER_NAME = "shard.example"
"""What the certificate is of: an address of this machine is not."""
DEADLINE_SECONDS = 20
_CHUNK_BYTES = 1 << 16


@dataclass(frozen=True)
class Certificate:
    """A certificate that signs itself, and its key."""

    cert: Path
    key: Path


def make_certificate(folder: Path, name: str) -> Certificate:
    certificate = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    subject = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "2"]
    files = ["-keyout", str(certificate.key), "-out", str(certificate.cert)]
    subprocess.run(
        ["openssl", "req", "-x509", *kind, *subject, *files], check=True, capture_output=True
    )
    return certificate


@contextmanager
def run_tls_proxy(
    address: str, server: Certificate, client: Certificate | None = None
) -> Iterator[str]:
    """Take TLS connections for what serves at an address; `client` must show its certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(server.cert, server.key)
    context.set_alpn_protocols(["h2"])
    if client is not None:
        context.load_verify_locations(client.cert)
        context.verify_mode = ssl.CERT_REQUIRED
    started: list[str] = []
    ready, loop = threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        proxy = await asyncio.start_server(_make_forwarder(address), "127.0.0.1", 0, ssl=context)
        async with proxy:
            started.append(f"127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
            ready.set()
            await stop.wait()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(DEADLINE_SECONDS)
    try:
        yield started[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(DEADLINE_SECONDS)


def _make_forwarder(
    address: str,
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    host, _, port = address.rpartition(":")

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_connection(host, int(port))
        tasks = [
            asyncio.create_task(_copy(reader, behind_writer)),
            asyncio.create_task(_copy(behind_reader, writer)),
        ]
        await asyncio.gather(*tasks, return_exceptions=True)  # either side may just be gone

    return forward


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
    writer.close()
