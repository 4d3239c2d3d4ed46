"""Callers with tokens: a key ring in a file, and calls of any method by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import descriptor_pool, message_factory

from constellation.auth.key_file import KeyFile
from constellation.auth.keys import KeyRing, make_key_ring, write_key_ring
from constellation.auth.principal import Role
from constellation.auth.revocations import RevokedDevices
from constellation.auth.tokens import TokenVerifier, issue_token
from constellation.v1.sync_pb2 import SyncResponse
from tests.deltas import device_id

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

AUDIENCE = "constellation"
OWN = device_id(1)
HOUR = 3600.0


@dataclass(frozen=True)
class Keys:
    """A key ring in a file, and tokens that it signs."""

    path: Path
    ring: KeyRing

    @classmethod
    def make(cls, folder: Path) -> Keys:
        path = folder / "token-keys.json"
        ring = make_key_ring()
        write_key_ring(path, ring, is_new=True)
        return cls(path, ring)

    def issue(self, *roles: Role, subject: str = "", seconds: float = HOUR, lot: str = "") -> str:
        """Return a token; that of a device is for OWN, unless another subject is given."""
        name = subject or (OWN.hex() if Role.DEVICE in roles else "somebody")
        return issue_token(self.ring, AUDIENCE, name, roles, seconds, lot=lot)


def make_verifier(path: Path, revoked: RevokedDevices | None = None) -> TokenVerifier:
    """Return what verifies tokens with the keys of a file."""
    return TokenVerifier(KeyFile(path), AUDIENCE, revoked or RevokedDevices())


def to_metadata(token: str | None) -> tuple[tuple[str, str], ...]:
    return () if token is None else (("authorization", f"Bearer {token}"),)


async def call(
    channel: grpc.aio.Channel, method: str, token: str | None, **fields: Any
) -> grpc.StatusCode:
    """Call a method of any kind with one message, and return its status; OK once it answers."""
    service, _, name = method.strip("/").rpartition("/")
    found = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
    request = message_factory.GetMessageClass(found.input_type)(**fields)
    multi_callables: Any = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }
    start: Any = multi_callables[found.client_streaming, found.server_streaming](
        method,
        request_serializer=type(request).SerializeToString,
        response_deserializer=message_factory.GetMessageClass(found.output_type).FromString,
    )
    sent = iter([request]) if found.client_streaming else request
    started = start(sent, metadata=to_metadata(token), timeout=10)
    try:
        if found.server_streaming:
            first = await started.read()
            if isinstance(first, SyncResponse) and first.HasField("error"):
                await started.read()  # the status follows
            started.cancel()
        else:
            await started
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK if not started.done() or started.cancelled() else await started.code()


def list_methods(services: Iterable[str]) -> list[str]:
    """Return the full names of all methods of some services."""
    pool = descriptor_pool.Default()
    return [
        f"/{service}/{method.name}"
        for service in services
        for method in pool.FindServiceByName(service).methods
    ]
