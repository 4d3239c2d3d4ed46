"""DeviceIdentity: how a device proves who it is, and the tokens that it gets for that."""

from __future__ import annotations

import asyncio
import json
import logging
from base64 import urlsafe_b64decode
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import grpc

from constellation.encoding import ID_BYTES
from constellation.v1 import auth_pb2
from constellation.v1.auth_pb2_grpc import AuthServiceStub
from constellation_settop.errors import InvalidArgumentError, UnreachableError
from constellation_settop.network.files import read_limited
from constellation_settop.network.times import read_clock, to_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from constellation.v1.auth_pb2_grpc import AuthServiceAsyncStub

log = logging.getLogger("constellation_settop")

PROOF_PREFIX: Final = b"constellation device proof v1\0"
"""What a device signs begins with this, so that a signature of it means nothing elsewhere."""
AUTH_TIMEOUT_SECONDS: Final = 10.0
MAX_CHALLENGE_BYTES: Final = 4096
MIN_TOKEN_SECONDS: Final = 1.0
MAX_TOKEN_SECONDS: Final = 86_400.0
"""A token is renewed after this long at the latest, whatever the shard says of it."""
RENEWAL_SHARE: Final = 0.7
"""Share of a token's life after which the next one is asked for."""
RENEWAL_RETRY_SHARE: Final = 0.1
"""Share of a token's life between two attempts to renew it."""

_OTHERS: Final = 0o077
"""The permissions on a private key that nobody but its owner may have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceIdentity:
    """A vendor's claim, and the device's private key that the claim names.

    Example: `DeviceIdentity.from_files("device.claim", "device.key")`
    """

    claim: str = field(repr=False)
    """The vendor's claim, a JSON Web Token: `constellation enrol-device` makes one."""
    sign: Callable[[bytes], bytes] = field(repr=False)
    """Returns the Ed25519 signature, 64 bytes, of a message. A secure element may make it."""

    @classmethod
    def from_files(cls, claim: Path | str, private_key: Path | str) -> Self:
        """Read a claim, and a private key in PEM. It needs the package `cryptography`.

        Raises InvalidArgumentError when a file cannot be read, or has no Ed25519 key.
        """
        # Not at the top: a device with a secure element does without the package.
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
            Ed25519PrivateKey,
        )
        from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
            load_pem_private_key,
        )

        if Path(private_key).is_file() and Path(private_key).stat().st_mode & _OTHERS:
            log.warning("others may use the private key: run `chmod 600 %s`", private_key)
        pem, token = read_limited(private_key), read_limited(claim)
        try:
            key, text = load_pem_private_key(pem, None), token.decode("ascii").strip()
        except (ValueError, TypeError) as error:
            raise InvalidArgumentError(f"{private_key} or {claim} is wrong: {error}") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise InvalidArgumentError(f"{private_key} is not an Ed25519 key")
        return cls(claim=text, sign=key.sign)

    @property
    def device_id(self) -> bytes:
        """Return the device id in the claim. Raises InvalidArgumentError when it has none."""
        try:
            text = self.claim.split(".")[1]
            claims = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            device_id = bytes.fromhex(claims["sub"])
        except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
            raise InvalidArgumentError(f"the claim names no device: {error!r}") from error
        if len(device_id) != ID_BYTES:
            raise InvalidArgumentError(
                f"the claim must name a device by {ID_BYTES} bytes, got {len(device_id)}"
            )
        return device_id


class TokenSource:
    """The token that a device presents: one that it was given, or the last one that it got."""

    def __init__(self, credential: str | None, identity: DeviceIdentity | None) -> None:
        self.token = credential
        """The present token; None before the first one, and where nobody needs one."""
        self._identity = identity
        self._life_seconds = 0.0
        self._renew_at = float("-inf")

    async def refresh(self, channel: grpc.aio.Channel) -> None:
        """Get a token unless the present one is new enough.

        Raises AioRpcError when the shard refuses the device, and UnreachableError when the answer
        is not that of a shard.
        """
        if self._identity is None or read_clock() < self._renew_at:
            return
        stub: AuthServiceAsyncStub = AuthServiceStub(channel)
        asked = await stub.GetChallenge(
            auth_pb2.GetChallengeRequest(), timeout=AUTH_TIMEOUT_SECONDS
        )
        if asked is None or len(asked.challenge) > MAX_CHALLENGE_BYTES:
            raise UnreachableError("its challenge cannot be decoded: this is not a shard")
        proof = auth_pb2.IssueTokenRequest(
            claim=self._identity.claim,
            challenge=asked.challenge,
            signature=_sign(self._identity, asked.challenge),
        )
        issued = await stub.IssueToken(proof, timeout=AUTH_TIMEOUT_SECONDS)
        if issued is None or not issued.token.isascii() or len(issued.token) > MAX_CHALLENGE_BYTES:
            raise UnreachableError("its token cannot be decoded: this is not a shard")
        self.token = issued.token
        seconds = to_seconds(issued.valid_for)
        self._life_seconds = min(max(seconds, MIN_TOKEN_SECONDS), MAX_TOKEN_SECONDS)
        self._renew_at = read_clock() + RENEWAL_SHARE * self._life_seconds

    async def renew_forever(
        self, channel: grpc.aio.Channel, on_renewed: Callable[[str], None]
    ) -> None:
        """Get each next token before the present one expires. Runs until cancelled.

        A failure is logged and tried again: if it lasts too long, the shard ends the stream.
        """
        while self._identity is not None:
            await asyncio.sleep(max(0.0, self._renew_at - read_clock()))
            try:
                await self.refresh(channel)
            except (grpc.aio.AioRpcError, UnreachableError) as error:
                reason = error.code().name if isinstance(error, grpc.aio.AioRpcError) else error
                log.info("the token could not be renewed: %s", reason)
                await asyncio.sleep(RENEWAL_RETRY_SHARE * self._life_seconds)
            else:
                assert self.token is not None
                on_renewed(self.token)


def _sign(identity: DeviceIdentity, challenge: str) -> bytes:
    """Sign a challenge. If a secure element fails, the attempt fails, and the sync goes on."""
    try:
        return identity.sign(PROOF_PREFIX + challenge.encode())
    except Exception as error:
        raise UnreachableError(f"the device could not sign: {error!r}") from error
