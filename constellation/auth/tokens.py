"""Tokens: JSON Web Tokens (RFC 7519) that say who calls, in which roles, and until when."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import jwt

from constellation.auth.principal import Principal, Role
from constellation.errors import ConfigError, UnauthenticatedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from constellation.auth.key_file import KeyFile
    from constellation.auth.keys import KeyRing
    from constellation.auth.revocations import RevokedDevices

MAX_TOKEN_BYTES: Final = 4096
_LEEWAY_SECONDS: Final = 30
"""The most by which clocks may differ."""


def issue_token(
    ring: KeyRing,
    audience: str,
    subject: str,
    roles: Iterable[Role],
    seconds: float,
    *,
    lot: str = "",
) -> str:
    """Return a token that the first private key of a ring signs. Raises ConfigError without one."""
    signer = ring.signer
    if signer is None:
        raise ConfigError("the key ring has only public keys, and none of them can sign")
    now = int(time.time())
    claims = {
        "aud": audience,
        "sub": subject,
        "roles": sorted(roles),
        "iat": now,
        "exp": now + int(seconds),
    }
    if lot:
        claims["lot"] = lot
    return jwt.encode(claims, signer.load(), signer.algorithm, headers={"kid": signer.key_id})


class TokenVerifier:
    """Verifies tokens with the keys of a file."""

    def __init__(self, keys: KeyFile, audience: str, revoked: RevokedDevices) -> None:
        self._keys = keys
        self._audience = audience
        self._revoked = revoked

    def verify(self, token: str) -> Principal:
        """Return who presents a token. Raises UnauthenticatedError, which never quotes it."""
        if len(token) > MAX_TOKEN_BYTES:
            raise UnauthenticatedError(
                f"the token has {len(token)} bytes, the most is {MAX_TOKEN_BYTES}"
            )
        try:
            key_id = jwt.get_unverified_header(token).get("kid", "")
            found = self._keys.read().find(key_id)
            if found is None:
                raise UnauthenticatedError(
                    "no key of this process verifies the token: it is of another fleet, or its key "
                    "was revoked"
                )
            key, algorithm = found
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self._audience,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["exp", "sub", "aud"]},
            )
            caller = self._to_principal(claims, key_id)
        except jwt.ExpiredSignatureError:
            raise UnauthenticatedError("the token has expired: get a new one") from None
        except jwt.InvalidAudienceError:
            raise UnauthenticatedError(
                f"the token is not for the audience {self._audience!r}"
            ) from None
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError):
            raise UnauthenticatedError("the token is not a valid token") from None
        if caller.is_revoked():
            raise UnauthenticatedError("this device was revoked")
        return caller

    def _to_principal(self, claims: dict[str, Any], key_id: str) -> Principal:
        """Return the principal of verified claims. Roles of a later version are left out."""
        subject, named, lot = claims["sub"], claims.get("roles", ()), claims.get("lot", "")
        if not isinstance(named, list) or not isinstance(lot, str):
            raise TypeError("roles must be a list, and the lot must be text")
        roles = frozenset(role for role in Role if role.value in named)
        device_id = bytes.fromhex(subject) if Role.DEVICE in roles else b""
        return Principal(
            subject,
            roles,
            float(claims["exp"]) + _LEEWAY_SECONDS,
            partial(self._is_revoked, key_id, device_id),
            self.verify,
            lot,
        )

    def _is_revoked(self, key_id: str, device_id: bytes) -> bool:
        return device_id in self._revoked or self._keys.read().find(key_id) is None
