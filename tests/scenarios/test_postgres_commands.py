"""The commands of an operator of PostgreSQL: messages, migrations, dumps and SQL."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psycopg
import pytest

from constellation.core.store import Content
from constellation.storage.postgres import migrations
from constellation.storage.postgres.dialect import PGVECTOR
from tests.conftest import run_shard
from tests.deltas import PatternSpec
from tests.scenarios.processes import run_command, run_shard_process
from tests.scenarios.replayable_devices import ReplayableDevice
from tests.transport.inbox_client import push_delta

if TYPE_CHECKING:
    from pathlib import Path

    from testing.postgres_server import PostgresServer


@pytest.fixture
async def migrated_url(postgres_server: PostgresServer, request: pytest.FixtureRequest) -> str:
    """A migrated database on a server whose programs the test can run."""
    url = postgres_server.create_database(f"dumped_{abs(hash(request.node.name))}")
    await migrations.migrate(url, PGVECTOR)
    return url


@pytest.mark.parametrize(
    ("url", "status", "message"),
    [
        ("nonsense", 2, "POSTGRES_URL is not a PostgreSQL connection string, such as"),
        ("postgresql://u:Sesame@h/d?x=1", 2, "POSTGRES_URL is not a PostgreSQL connection string"),
        (
            "postgresql://u:Sesame@127.0.0.1:1/d",
            1,
            "PostgreSQL at 127.0.0.1:1, database d, user u does not answer: ",
        ),
    ],
)
async def test_an_unreachable_database_is_named_without_its_password(
    url: str, status: int, message: str
) -> None:
    for command in ("serve", "migrate", "check"):
        finished = await run_command(command, postgres_url=url)

        assert finished.status == status
        assert message in finished.err
        assert "Sesame" not in finished.err
        assert "Traceback" not in finished.err


async def test_a_wrong_password_ends_with_status_2_and_is_not_printed(
    postgres_server: PostgresServer,
) -> None:
    finished = await run_command("serve", postgres_url=postgres_server.make_url(password="Sesame"))  # noqa: S106

    assert finished.status == 2
    assert "refused the login: " in finished.err
    assert "password authentication failed" in finished.err
    assert "Correct POSTGRES_URL" in finished.err
    assert "Sesame" not in finished.err


async def test_migrate_prints_its_plan_and_applies_it_once(
    postgres_server: PostgresServer,
) -> None:
    url = postgres_server.create_database("to_migrate")

    plan = await run_command("migrate", "--dry-run", postgres_url=url)
    before = await run_command("migrate", "--status", postgres_url=url)
    refused = await run_command("serve", postgres_url=url)
    done = await run_command("migrate", postgres_url=url)
    status = await run_command("migrate", "--status", postgres_url=url)
    again = await run_command("migrate", postgres_url=url)

    assert "CREATE TABLE constellation.pattern" in plan.out
    files = [migration.name for migration in migrations.load_migrations()]
    assert (before.status, status.status) == (1, 0)
    assert before.out.splitlines() == [
        f"{number:4}  {name:24} missing" for number, name in enumerate(files, 1)
    ]
    assert (refused.status, "run `constellation migrate`" in refused.err) == (2, True)
    current = f"schema version {len(files)} is current\n"
    assert done.out == "".join(f"applied {name}\n" for name in files) + current
    assert status.out.startswith("   1  0001_shard.sql           applied 20")
    assert again.out == current


async def test_a_missing_extension_is_named(postgres_server: PostgresServer) -> None:
    url = postgres_server.create_database("without_extension")
    postgres_server.execute("DROP EXTENSION vector", "without_extension")
    postgres_server.execute("DROP ROLE IF EXISTS plain")
    postgres_server.execute("CREATE ROLE plain LOGIN PASSWORD 'plain'")
    plain = postgres_server.make_url("without_extension", user="plain", password="plain")  # noqa: S106

    not_offered = await run_command("migrate", postgres_url=url, vector_extension="ruvector")
    not_allowed = await run_command("migrate", postgres_url=plain)

    assert not_offered.status == not_allowed.status == 2
    assert "does not have the extension ruvector available: install it" in not_offered.err
    assert "may not create the extension vector. Let a superuser run" in not_allowed.err
    assert "CREATE EXTENSION vector" in not_allowed.err


async def test_a_dump_restored_elsewhere_is_the_same_shard(
    postgres_server: PostgresServer, migrated_url: str, tmp_path: Path
) -> None:
    """The restore drill of docs/operations.md, while the shard serves."""
    device, dump = ReplayableDevice(0), str(tmp_path / "shards.dump")
    postgres_server.execute("CREATE DATABASE drill TEMPLATE template1")
    drill = postgres_server.make_url("drill")
    async with run_shard_process(postgres_url=migrated_url) as shard:
        await device.push(shard, lambda: None, 30)
        for command in (
            (
                "pg_dump",
                "--format=custom",
                "--schema=constellation",
                f"--file={dump}",
                migrated_url,
            ),
            ("pg_restore", "--no-owner", f"--dbname={drill}", dump),
        ):
            done = await asyncio.create_subprocess_exec(
                postgres_server.find_program(command[0]), *command[1:]
            )
            assert await done.wait() == 0

    checked = await run_command("check", postgres_url=drill)
    for url, file in ((migrated_url, "first"), (drill, "second")):
        assert (await run_command("export", str(tmp_path / file), postgres_url=url)).status == 0

    assert (checked.status, checked.out[:26]) == (0, "ok: 1 devices, 4 patterns,")
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


async def test_people_can_read_patterns_in_sql(postgres_url: str) -> None:
    async with run_shard(postgres_url=postgres_url) as shard:
        contents = [Content("film:1", "", 1, ("drama", "noir"), 1999, b"\1" * 384)]
        await shard.manager.committer.add_contents(contents)
        patterns = [
            PatternSpec(1, genres=("noir", "drama"), contents=("film:1",), success_rate=0.75)
        ]
        await push_delta(shard.manager, 0, 1, patterns)

    with psycopg.connect(postgres_url) as connection:
        found = connection.execute(
            "SELECT device_id::text, success_rate, time_of_day, day_type, content_type, genres,"
            " content_ids, updated_at::text FROM constellation.readable_pattern WHERE shard_id = 0"
        ).fetchall()

    assert found == [
        (
            "01000000-0000-0000-0000-000000000000",
            0.75,
            "evening",
            "weekday",
            "movie",
            ["drama", "noir"],
            ["film:1"],
            "2023-11-14 22:13:21+00",
        )
    ]
