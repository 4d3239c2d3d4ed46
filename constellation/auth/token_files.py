"""Tokens that a process presents: read from a file, and never sent in clear text over a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from constellation.auth.files import read_limited, require_secret
from constellation.auth.tokens import MAX_TOKEN_BYTES
from constellation.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

Metadata = tuple[tuple[str, str], ...]


def read_token_file(path: Path) -> str:
    """Return the token in a file. Raises ConfigError, which does not quote it."""
    require_secret(path)
    try:
        token = read_limited(path).decode("ascii").strip()
    except OSError as error:
        raise ConfigError(f"TOKEN_FILE: cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfigError(f"TOKEN_FILE: {path} holds no token") from None
    if not token or len(token) > MAX_TOKEN_BYTES or any(each.isspace() for each in token):
        raise ConfigError(
            f"TOKEN_FILE: {path} holds no token: `constellation keys issue` makes one"
        )
    return token


def to_metadata(path: Path | None) -> Metadata:
    """Return the metadata that presents the token in a file, as it is now; nothing without one."""
    return () if path is None else (("authorization", f"Bearer {read_token_file(path)}"),)
