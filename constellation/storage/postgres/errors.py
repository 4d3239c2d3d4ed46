"""Translation of psycopg's errors: retryable, wrong configuration, or fatal."""

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
        "{database}: all connections are in use; raise POSTGRES_POOL_SIZE if this continues",
    ),
    (
        (errors.InsufficientPrivilege,),
        ConfigError,
        "{database} refused: {server_message}. Grant this user the privilege, or name another user",
    ),
    (
        (
            errors.UndefinedTable,
            errors.UndefinedColumn,
            errors.UndefinedObject,
            errors.UndefinedFunction,
            errors.InvalidSchemaName,
        ),
        StoreFailedError,
        (
            "{database} lost a part of its schema: {server_message}. "
            "Restore it from a backup; start again if an extension was moved"
        ),
    ),
    (
        (errors.DataCorrupted, errors.IndexCorrupted),
        StoreFailedError,
        "{database} is damaged: {server_message}. Restore it from a backup",
    ),
    (
        (errors.DiskFull,),
        NotReadyError,
        "{database} has no disk space left: {server_message}. Free some space",
    ),
    (
        (errors.ReadOnlySqlTransaction,),
        NotReadyError,
        (
            "{database} accepts no writes: {server_message}. Promote it, or add "
            "target_session_attrs=read-write and the primary's host to POSTGRES_URL"
        ),
    ),
    (
        (
            errors.QueryCanceled,
            errors.LockNotAvailable,
            errors.DeadlockDetected,
            errors.SerializationFailure,
        ),
        NotReadyError,
        "{database} did not run the statement: {server_message}",
    ),
    (
        (
            psycopg.OperationalError,
            psycopg.InterfaceError,
            errors.IdleInTransactionSessionTimeout,
            errors.TransactionTimeout,
        ),
        NotReadyError,
        "{database} does not answer: {server_message}",
    ),
    (
        (psycopg.InternalError,),
        StoreFailedError,
        "{database} reports an internal error: {server_message}. See its log",
    ),
)
"""Classes of psycopg, the error to raise for them, and its message. The first match counts.

Errors of other classes are errors in this program.
"""
_LOGIN_REFUSALS: Final = (
    errors.InvalidPassword,
    errors.InvalidAuthorizationSpecification,
    errors.InvalidCatalogName,
)
"""Classes of refused logins. psycopg uses them only when the server sent an error code."""
READ_WRITABILITY: Final = (
    "SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'"
)
"""Asks a server why it takes no writes. It reads no table, because a table may be locked."""
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
"""Parts of the messages of refused logins that have no error code."""
_TOO_MANY_CONNECTIONS_TEXTS: Final = (
    "too many clients",
    "remaining connection slots",
    "too many connections",
)


def describe_database(url: str) -> str:
    """Return the server, database and user of a connection string, without the password.

    Raises ConfigError when it is not a connection string. The message does not repeat the string.
    """
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise ConfigError(
            "POSTGRES_URL is not a PostgreSQL connection string, "
            "such as postgresql://user@host:5432/database"
        ) from None  # the message of the cause may contain the password
    host, user = parts.get("host") or parts.get("hostaddr"), parts.get("user", "")
    server = f"{host}:{parts.get('port', 5432)}" if host else "the default host"
    return f"PostgreSQL at {server}, database {parts.get('dbname', user)}, user {user or 'unnamed'}"


@contextmanager
def translate_errors(database: str) -> Iterator[None]:
    """Translate the errors that psycopg raises in the block; see `translate_error`."""
    try:
        yield
    except psycopg.Error as error:
        raise translate_error(database, error) from error


def translate_error(database: str, error: psycopg.Error) -> BaseException:
    """Return the error to raise for an error of psycopg, or the same if it is a program error.

    A NotReadyError means that nothing was written. That holds for every statement but COMMIT.
    """
    message = _extract_message(error)
    for kinds, error_class, template in _TRANSLATIONS:
        if isinstance(error, kinds):
            return error_class(template.format(database=database, server_message=message))
    return error


def is_read_only_error(error: BaseException | None) -> bool:
    """Return whether an error says that the server of a connection takes no writes any more.

    After a failover, the old primary may stay up as a standby, or read-only. Its connections work
    on, so only this error tells that they lead to the wrong server.
    """
    return isinstance(error, errors.ReadOnlySqlTransaction)


def require_writable(is_standby: object, is_read_only: object) -> None:
    """Raise ReadOnlySqlTransaction when a server answers so to READ_WRITABILITY."""
    if is_standby or is_read_only:
        raise errors.ReadOnlySqlTransaction("it is a standby" if is_standby else "it is read-only")


def translate_login_error(database: str, error: psycopg.Error) -> ConstellationError:
    """Return ConfigError for a refused login, NotReadyError for a server that does not answer."""
    message = _extract_message(error)
    if isinstance(error, _LOGIN_REFUSALS) or any(text in message for text in _LOGIN_REFUSAL_TEXTS):
        return ConfigError(f"{database} refused the login: {message}. Correct POSTGRES_URL")
    if any(text in message for text in _TOO_MANY_CONNECTIONS_TEXTS):
        return NotReadyError(
            f"{database} accepts no more connections: {message}. "
            "Raise its max_connections, or put PgBouncer in front of it"
        )
    return NotReadyError(
        f"{database} does not answer: {message}. "
        "Start it, or correct the host and port in POSTGRES_URL"
    )


def _extract_message(error: psycopg.Error) -> str:
    """Return the message of the server, or else of psycopg, on one line."""
    text = error.diag.message_primary or str(error) or type(error).__name__
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())
