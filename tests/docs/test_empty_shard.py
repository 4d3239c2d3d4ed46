"""The SQL of docs/operations.md that empties one shard of a PostgreSQL database."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import psycopg

from tests.docs.pages import DOCS
from tests.scenarios.processes import run_command, run_shard_process
from tests.scenarios.replayable_devices import ReplayableDevice

if TYPE_CHECKING:
    from pathlib import Path

SQL = re.compile(r"```sql\n(DO \$\$.*?)```", re.DOTALL)


async def test_an_emptied_shard_can_be_imported_again_and_others_stay(
    postgres_url: str, tmp_path: Path
) -> None:
    (sql,) = SQL.findall((DOCS / "operations.md").read_text())
    file = str(tmp_path / "shard.jsonl")
    for shard_id in (7, 8):
        device = ReplayableDevice(shard_id)
        async with run_shard_process(postgres_url=postgres_url, shard_id=shard_id) as shard:
            await device.push(shard, lambda: None, 10)
    exported = await run_command("export", file, postgres_url=postgres_url, shard_id=7)
    refused = await run_command("import", file, postgres_url=postgres_url, shard_id=7)

    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(sql)

    imported = await run_command("import", file, postgres_url=postgres_url, shard_id=7)
    other = await run_command("check", postgres_url=postgres_url, shard_id=8)
    assert (exported.status, refused.status, imported.status) == (0, 2, 0), imported.err
    assert other.out.startswith("ok: 1 devices, ")
