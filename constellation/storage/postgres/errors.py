"""What went wrong at PostgreSQL, in our own words: who waits, who mends, and what must end."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import PoolTimeout, TooManyRequests

from constellation.errors import (
    ConfigError,
    ConstellationError,
    NotReadyError,
    StoreFailedError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_TRANSLATIONS: Final[
    tuple[tuple[tuple[type[psycopg.Error], ...], type[ConstellationError], str], ...]
] = (
    (
        (TooManyRequests, PoolTimeout),
        NotReadyError,
        "{place}: no connection came free; raise POSTGRES_POOL_SIZE if that goes on",
    ),
    (
        (errors.InsufficientPrivilege,),
        ConfigError,
        "{place} refused: {said}. Grant this user the right, or name another",
    ),
    (
        (errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName),
        StoreFailedError,
        "{place} lost a part of its schema: {said}. Restore it from a backup",
    ),
    (
        (errors.DataCorrupted, errors.IndexCorrupted),
        StoreFailedError,
        "{place} is damaged: {said}. Restore a backup",
    ),
    (
        (errors.DiskFull,),
        NotReadyError,
        "{place} has no space left: {said}. Free some",
    ),
    (
        (errors.ReadOnlySqlTransaction,),
        NotReadyError,
        "{place} takes no writes: {said}. It may be a standby: POSTGRES_URL must lead to a primary",
    ),
    (
        (
            errors.QueryCanceled,
            errors.LockNotAvailable,
            errors.DeadlockDetected,
            errors.SerializationFailure,
        ),
        NotReadyError,
        "{place} did not do it: {said}",
    ),
    (
        (
            psycopg.OperationalError,
            psycopg.InterfaceError,
            errors.IdleInTransactionSessionTimeout,
            errors.TransactionTimeout,
        ),
        NotReadyError,
        "{place} does not answer: {said}",
    ),
    (
        (psycopg.InternalError,),
        StoreFailedError,
        "{place} failed inside: {said}. See its log",
    ),
)
"""What an error of psycopg means: the first kind that fits. The rest are mistakes of ours."""
_LOGIN_REFUSALS: Final = (
    errors.InvalidPassword,
    errors.InvalidAuthorizationSpecification,
    errors.InvalidCatalogName,
)
"""What the server says to a login; psycopg gives the class only where the server sent a code."""
_LOGIN_REFUSAL_TEXTS: Final = (
    "password authentication failed",
    "no password supplied",
    "does not exist",
    "no pg_hba.conf entry",
    "authentication failed",
    "is not permitted to log in",
    "failed to resolve host",
    "root certificate file",
    "SSL",
)

_TOO_MANY_CONNECTIONS_TEXTS: Final = (
    "too many clients",
    "remaining connection slots",
    "too many connections",
)


def describe_database(url: str) -> str:
    """Return where a connection string leads, for people: never its password.

    Raises ConfigError when it is none; the string itself is not repeated.
    """
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise ConfigError(
            "POSTGRES_URL is not a PostgreSQL connection string, "
            "such as postgresql://user@host:5432/database"
        ) from None  # its message may repeat the password
    host, user = parts.get("host") or parts.get("hostaddr"), parts.get("user", "")
    where = f"{host}:{parts.get('port', 5432)}" if host else "the default host"
    return f"PostgreSQL at {where}, database {parts.get('dbname', user)}, user {user or 'unnamed'}"


@contextmanager
def translate_errors(database: str) -> Iterator[None]:
    """Raise what psycopg raises inside as one of our errors; mistakes of ours pass as they are."""
    try:
        yield
    except psycopg.Error as error:
        raise translate_error(database, error) from error


def translate_error(database: str, error: psycopg.Error) -> BaseException:
    """Return the error of ours that one of psycopg's means; the same when it is a mistake of ours.

    A NotReadyError says that nothing was written, which holds for all but a COMMIT.
    """
    message = _extract_message(error)
    for kinds, meaning, sentence in _TRANSLATIONS:
        if isinstance(error, kinds):
            return meaning(sentence.format(place=database, said=message))
    return error


def translate_login_error(database: str, error: psycopg.Error) -> ConstellationError:
    """Return why no connection could be made: asked wrongly, or nobody there."""
    message = _extract_message(error)
    if isinstance(error, _LOGIN_REFUSALS) or any(
        words in message for words in _LOGIN_REFUSAL_TEXTS
    ):
        return ConfigError(f"{database} refused the login: {message}. Mend POSTGRES_URL")
    if any(words in message for words in _TOO_MANY_CONNECTIONS_TEXTS):
        return NotReadyError(
            f"{database} takes no more connections: {message}. "
            "Raise its max_connections, or put PgBouncer in front"
        )
    return NotReadyError(
        f"{database} does not answer: {message}. Start it, or mend the host and port in POSTGRES_URL"
    )


def _extract_message(error: psycopg.Error) -> str:
    """Return the server's own sentence, on one line."""
    text = error.diag.message_primary or str(error) or type(error).__name__
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())
