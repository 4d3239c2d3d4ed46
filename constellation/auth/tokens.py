"""Tokens: JSON Web Tokens (RFC 7519) that say who calls, in which roles, and until when."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import jwt

from constellation.auth.files import read_version
from constellation.auth.keys import KeyRing, read_key_ring
from constellation.auth.principal import Principal, Role
from constellation.errors import ConfigError, UnauthenticatedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

MAX_TOKEN_BYTES: Final = 4096
_LEEWAY_SECONDS: Final = 30
"""By how much clocks may differ."""
_RELOAD_SECONDS: Final = 1.0
"""How often the file of keys is looked at."""


def issue_token(
    ring: KeyRing, audience: str, subject: str, roles: Iterable[Role], seconds: float
) -> str:
    """Return a token that the first symmetric key of a ring signs. Raises ConfigError without."""
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
    return jwt.encode(claims, signer.load(), signer.algorithm, headers={"kid": signer.key_id})


class TokenVerifier:
    """Verifies tokens with the keys of a file, which may be replaced at any time."""

    def __init__(self, path: Path, audience: str) -> None:
        self._path = path
        self._audience = audience
        self._version = read_version(path)  # before its keys, which may be newer then, never older
        self._ring = read_key_ring(path)
        self._looked_at = time.monotonic()
        self.reload_problem = ""
        """Why the present file is not in use; the keys before it are."""

    @property
    def key_count(self) -> int:
        """Return how many keys are in use."""
        return len(self._ring.keys)

    def verify(self, token: str) -> Principal:
        """Return who presents a token. Raises UnauthenticatedError, which never quotes it."""
        self._reload()
        if len(token) > MAX_TOKEN_BYTES:
            raise UnauthenticatedError(
                f"the token has {len(token)} bytes, the most is {MAX_TOKEN_BYTES}"
            )
        try:
            key_id = jwt.get_unverified_header(token).get("kid", "")
            found = self._ring.find(key_id)
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
            return _to_principal(claims, partial(self._is_revoked, key_id))
        except jwt.ExpiredSignatureError:
            raise UnauthenticatedError("the token has expired: get a new one") from None
        except jwt.InvalidAudienceError:
            raise UnauthenticatedError(
                f"the token is not for the audience {self._audience!r}"
            ) from None
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError):
            raise UnauthenticatedError("the token is no valid token") from None

    def _is_revoked(self, key_id: str) -> bool:
        self._reload()
        return self._ring.find(key_id) is None

    def _reload(self) -> None:
        """Read the file again when it has changed; keep the present keys when it is wrong."""
        now = time.monotonic()
        if now - self._looked_at < _RELOAD_SECONDS:
            return
        self._looked_at = now
        version = read_version(self._path)
        if version == self._version:
            self.reload_problem = ""
            return
        try:
            self._ring = read_key_ring(self._path)
        except ConfigError as error:
            self.reload_problem = str(error)
            return
        self._version, self.reload_problem = version, ""


def _to_principal(claims: dict[str, Any], is_revoked: Callable[[], bool]) -> Principal:
    """Return the principal of verified claims. Roles of a later version are left out."""
    subject, named = claims["sub"], claims.get("roles", ())
    if not isinstance(named, list):
        raise TypeError("roles must be a list")
    roles = frozenset(role for role in Role if role.value in named)
    return Principal(subject, roles, float(claims["exp"]) + _LEEWAY_SECONDS, is_revoked)
