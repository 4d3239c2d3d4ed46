from __future__ import annotations

import psycopg
import pytest
from psycopg import errors
from psycopg_pool import PoolTimeout, TooManyRequests

from constellation.errors import (
    ConfigError,
    ConstellationError,
    NotReadyError,
    StoreFailedError,
)
from constellation.storage.postgres.errors import (
    describe_database,
    translate_error,
    translate_errors,
    translate_login_error,
)


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (PoolTimeout("x"), NotReadyError, "all connections are in use; raise POSTGRES_POOL_SIZE"),
        (TooManyRequests("x"), NotReadyError, "all connections are in use"),
        (errors.InsufficientPrivilege("x"), ConfigError, "refused: x. Grant this user"),
        (errors.UndefinedTable("x"), StoreFailedError, "lost a part of its schema: x. Restore"),
        (errors.DataCorrupted("x"), StoreFailedError, "is damaged: x. Restore"),
        (errors.DiskFull("x"), NotReadyError, "has no disk space left: x. Free"),
        (
            errors.ReadOnlySqlTransaction("x"),
            NotReadyError,
            "accepts no writes: x. Promote it, or add",
        ),
        (errors.QueryCanceled("x"), NotReadyError, "did not run the statement: x"),
        (errors.SerializationFailure("x"), NotReadyError, "did not run the statement: x"),
        (errors.AdminShutdown("x"), NotReadyError, "does not answer: x"),
        (errors.IdleInTransactionSessionTimeout("x"), NotReadyError, "does not answer: x"),
        (psycopg.OperationalError("x"), NotReadyError, "does not answer: x"),
        (errors.InternalError_("x"), StoreFailedError, "reports an internal error: x. See its log"),
    ],
)
def test_an_error_of_the_server_becomes_one_that_says_what_to_do(
    error: psycopg.Error, expected: type[ConstellationError], message: str
) -> None:
    translated = translate_error("the database", error)

    assert type(translated) is expected
    assert str(translated).startswith("the database")
    assert message in str(translated)


def test_a_mistake_in_this_program_stays_what_it_is() -> None:
    for error in (errors.SyntaxError("x"), errors.UniqueViolation("x"), psycopg.DataError("x")):
        assert translate_error("the database", error) is error


def test_the_error_of_psycopg_is_the_cause_of_the_translated_one() -> None:
    error = errors.DiskFull("x")

    with pytest.raises(NotReadyError) as caught, translate_errors("the database"):
        raise error

    assert caught.value.__cause__ is error


def test_a_message_of_several_lines_becomes_one_line() -> None:
    error = psycopg.OperationalError("connection failed:\n  Is the server running?\n")

    translated = translate_error("the database", error)

    assert "connection failed:; Is the server running?" in str(translated)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.InvalidPassword("no"), ConfigError),
        (errors.InvalidCatalogName("no"), ConfigError),
        (psycopg.OperationalError('FATAL: role "u" does not exist'), ConfigError),
        (psycopg.OperationalError("failed to resolve host 'db'"), ConfigError),
        (psycopg.OperationalError("FATAL: sorry, too many clients already"), NotReadyError),
        (psycopg.OperationalError("connection refused"), NotReadyError),
    ],
)
def test_a_refused_login_is_a_wrong_setting_and_an_absent_server_is_not(
    error: psycopg.Error, expected: type[ConstellationError]
) -> None:
    assert type(translate_login_error("the database", error)) is expected


def test_a_database_is_described_without_its_password() -> None:
    described = describe_database("postgresql://me:hunter2@db.example:5433/shards")

    assert described == "PostgreSQL at db.example:5433, database shards, user me"


def test_a_string_that_is_no_connection_string_is_not_repeated() -> None:
    with pytest.raises(ConfigError, match="POSTGRES_URL is not a PostgreSQL conn") as caught:
        describe_database("postgres//me:hunter2")

    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__
