"""`constellation migrate`: bring the schema of a PostgreSQL database up to date."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from constellation.cli.exit_codes import FAILURE, SUCCESS
from constellation.cli.parsing import add_json_flag
from constellation.cli.printing import print_json, print_line, print_text
from constellation.commands.startup import configure_shard
from constellation.errors import ConfigError
from constellation.storage.postgres import migrations
from constellation.stores import describe_location, to_postgres_settings

if TYPE_CHECKING:
    from argparse import Namespace

    from constellation.cli.parsing import Commands
    from constellation.config import ShardConfig
    from constellation.storage.postgres.pool import PostgresSettings


def add_migrate(commands: Commands) -> None:
    parser = commands.add(
        "migrate",
        run_migrate,
        "bring the schema of POSTGRES_URL up to date",
        examples=("--status", ""),
    )
    add_json_flag(parser)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--dry-run", action="store_true", help="print the SQL, and change nothing")
    mode.add_argument(
        "--status",
        action="store_true",
        help="list the applied and the missing migrations; status 1 if one is missing",
    )


async def run_migrate(options: Namespace) -> int:
    """Apply the missing migrations, or print what is missing.

    Returns FAILURE when `--status` finds that migrations are missing.
    """
    config = configure_shard()
    if config.postgres_url is None:
        raise ConfigError("POSTGRES_URL is required: it names the database to migrate")
    settings = to_postgres_settings(config, owner="")
    if options.json:
        missing = await _print_document(config, settings, options)
        return FAILURE if missing and options.status else SUCCESS
    if options.status:
        return FAILURE if await _print_status(config, settings) else SUCCESS
    if options.dry_run:
        await _print_missing(config, settings)
    else:
        for migration in await migrations.migrate(settings.url, settings.dialect):
            print_line(f"applied {migration.name}")
        print_line(f"schema version {len(migrations.load_migrations())} is current")
    return SUCCESS


async def _print_document(
    config: ShardConfig, settings: PostgresSettings, options: Namespace
) -> int:
    """Print the migrations applied by this call, all applied ones, and the missing ones.

    Return how many are missing.
    """
    applied = []
    if not options.status and not options.dry_run:
        applied = [each.name for each in await migrations.migrate(settings.url, settings.dialect)]
    found = await migrations.list_applied(settings.url)
    missing = migrations.find_missing(describe_location(config), found)
    dialect = await migrations.find_dialect(settings.url, settings.dialect)
    print_json(
        {
            "applied_now": applied,
            "applied": [asdict(each) for each in found],
            "missing": [
                {
                    "version": each.version,
                    "name": each.name,
                    "sql": migrations.render_sql(each, dialect),
                }
                for each in missing
            ],
        }
    )
    return len(missing)


async def _print_status(config: ShardConfig, settings: PostgresSettings) -> int:
    """Print the applied migrations and the missing ones; return how many are missing."""
    found = await migrations.list_applied(settings.url)
    for each in found:
        print_line(f"{each.version:4}  {each.name:24} applied {each.applied_at}")
    missing = migrations.find_missing(describe_location(config), found)
    for migration in missing:
        print_line(f"{migration.version:4}  {migration.name:24} missing")
    return len(missing)


async def _print_missing(config: ShardConfig, settings: PostgresSettings) -> None:
    found = await migrations.list_applied(settings.url)
    missing = migrations.find_missing(describe_location(config), found)
    dialect = await migrations.find_dialect(settings.url, settings.dialect)
    for migration in missing:
        print_line(f"-- {migration.name}")
        print_text(migrations.render_sql(migration, dialect))
    if not missing:
        print_line(f"-- nothing to do: schema version {len(found)} is current")
