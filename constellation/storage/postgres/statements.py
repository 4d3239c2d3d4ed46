"""The SQL statements of a PostgresPatternStore that depend on its dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from constellation.storage.content_rows import CONTENT_COLUMNS
from constellation.storage.postgres.binary_copy import (
    DEVICE_COLUMNS,
    PATTERN_COLUMNS,
    CopyColumn,
    join_column_names,
)

if TYPE_CHECKING:
    from constellation.storage.postgres.dialect import Dialect


class Statements:
    """The SQL statements that depend on the dialect, built once for each store."""

    def __init__(self, dialect: Dialect, timeout_seconds: float) -> None:
        self.dialect = dialect
        self.timeout_seconds = timeout_seconds
        patterns, devices = join_column_names(PATTERN_COLUMNS), join_column_names(DEVICE_COLUMNS)
        staged = CopyColumn("embedding", dialect.staging_type, dialect.copy_dtype)
        self.staging_tables = (
            _build_staging_table("stage_pattern", (*PATTERN_COLUMNS, staged)),
            _build_staging_table("stage_device", DEVICE_COLUMNS),
        )
        self.copy_patterns = _to_sql(
            f"COPY pg_temp.stage_pattern ({patterns}, embedding) FROM STDIN (FORMAT binary)"
        )
        self.copy_devices = _to_sql(
            f"COPY pg_temp.stage_device ({devices}) FROM STDIN (FORMAT binary)"
        )
        self.put_patterns = _to_sql(
            f"INSERT INTO constellation.pattern (shard_id, {patterns}, embedding)"  # noqa: S608 - constant names
            f" SELECT %s, {patterns}, embedding{dialect.cast} FROM pg_temp.stage_pattern"
            f" ON CONFLICT (shard_id, slot) DO UPDATE SET {_build_assignments(PATTERN_COLUMNS)},"
            " embedding = excluded.embedding"
        )
        self.put_devices = _to_sql(
            f"INSERT INTO constellation.device (shard_id, {devices})"  # noqa: S608 - constant names
            f" SELECT %s, {devices} FROM pg_temp.stage_device"
            f" ON CONFLICT (shard_id, slot) DO UPDATE SET {_build_assignments(DEVICE_COLUMNS)}"
        )
        self.put_content = _to_sql(
            "INSERT INTO constellation.content"  # noqa: S608 - constant names
            f" (shard_id, {CONTENT_COLUMNS}, embedding)"
            f" VALUES (%s, %s, %s, %s, %s, %s, %s::text::{dialect.vector_type})"
            " ON CONFLICT (shard_id, content_id) DO UPDATE SET title = excluded.title,"
            " content_type = excluded.content_type, genres = excluded.genres,"
            " year = excluded.year, embedding = excluded.embedding"
        )


def _build_staging_table(name: str, columns: tuple[CopyColumn, ...]) -> sql.SQL:
    """Return the statement that creates a staging table, once for each server connection."""
    types = ", ".join(f"{column.name} {column.sql_type}" for column in columns)
    return _to_sql(f"CREATE TEMPORARY TABLE {name} ({types}) ON COMMIT DELETE ROWS")


def _build_assignments(columns: tuple[CopyColumn, ...]) -> str:
    names = [column.name for column in columns if column.name != "slot"]
    return ", ".join(f"{name} = excluded.{name}" for name in names)


def _to_sql(text: str) -> sql.SQL:
    return sql.SQL(text)
