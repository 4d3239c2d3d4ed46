from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from constellation.config import Count
from constellation.federated.published import StoredGlobal
from tests.commands.archives import fill_shard
from tests.conftest import run_shard
from tests.core.shared.households import Households
from tests.scenarios.processes import run_command
from tests.servers import run_subprocess
from tests.storage.postgres.stores import execute

if TYPE_CHECKING:
    from pathlib import Path


def test_check_prints_the_same_as_text_and_as_json(stored_data_dir: Path) -> None:
    finished = run_subprocess("constellation", "check", data_dir=stored_data_dir)
    finished_json = run_subprocess("constellation", "check", "--json", data_dir=stored_data_dir)

    assert (finished.status, finished_json.status) == (0, 0)
    assert finished.out == "ok: 0 devices, 0 patterns, 0 in the index, commit 0\n"
    assert json.loads(finished_json.out) == {
        "damaged": False,
        "problems": [],
        "devices": 0,
        "patterns": 0,
        "indexed": 0,
        "commit": 0,
    }


async def test_check_asks_for_a_data_directory() -> None:
    finished = await run_command("check")

    assert finished.status == 2
    assert "DATA_DIR or POSTGRES_URL is required" in finished.err


async def test_check_creates_nothing_where_there_is_no_shard(tmp_path: Path) -> None:
    finished = await run_command("check", data_dir=tmp_path)

    assert finished.status == 2
    assert f"DATA_DIR: there is no shard in {tmp_path}" in finished.err
    assert list_names(tmp_path) == []


def list_names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE content SET genres = '[\"drama'", "content item 'film:1' has the genres"),
        ("UPDATE content SET genres = '7'", "content item 'film:1' has the genres '7'"),
        ("UPDATE content SET codes = x'00'", "content item 'film:1' has 1 codes, not 384"),
        ("UPDATE term SET kind = 9 WHERE kind = 1 AND number = 1", "genre term 2 follows term 0"),
        ("DELETE FROM term WHERE kind = 2 AND number = 1", "content term 2 follows term 0"),
        ("UPDATE hourly_count SET devices = -1", "-1"),
        ("UPDATE device SET row = x'00'", "a row does not have 88 bytes"),
        ("UPDATE liked SET row = zeroblob(513)", "a row has more than 512 bytes"),
    ],
)
async def test_damage_is_a_message_of_check_and_of_serve_never_a_traceback(
    tmp_path: Path, statement: str, problem: str
) -> None:
    async with run_shard(data_dir=tmp_path) as shard:
        await fill_shard(shard)
    with closing(sqlite3.connect(tmp_path / "shard.db")) as connection, connection:
        connection.execute(statement)

    checked = await run_command("check", data_dir=tmp_path)
    served = await run_command("serve", data_dir=tmp_path, grpc_addr="127.0.0.1:0")

    assert checked.status == served.status == 1
    for finished in (checked, served):
        assert "Traceback" not in finished.err
        assert problem in finished.out + finished.err
    assert f"{tmp_path}/shard.db is damaged" in served.err


DAMAGES = {
    "UPDATE content SET codes = CAST(x'03' || substr(codes, 2) AS BLOB)": "catalogue digest: ",
    "UPDATE content SET title = 'Solarit'": "catalogue digest: ",
    "UPDATE content SET content_id = 'film:3'": "catalogue digest: ",
    "DELETE FROM content": "catalogue digest: ",
    "UPDATE term SET text = 'Dramb' WHERE kind = 1": "catalogue digest: ",
    "DELETE FROM term WHERE kind = 2 AND number = (SELECT max(number) FROM term)": "catalogue",
    "UPDATE hourly_count SET devices = devices + 1": "digest of the hourly counts: ",
    "DELETE FROM hourly_count": "digest of the hourly counts: ",
    "UPDATE liked SET row = x''": "digest of the liked content: ",
    "DELETE FROM liked": "digest of the liked content: ",
    "UPDATE global SET payload = CAST(x'00' || payload AS BLOB)": "global state of round 3: ",
    "UPDATE global SET round_id = 4": "global state of round 4: ",
}
"""By statement that damages a database: how the problem begins."""


@pytest.mark.parametrize("damage", DAMAGES)
async def test_damaged_rows_are_found_by_check_and_serve_in_the_same_words(
    tmp_path: Path, damage: str
) -> None:
    async with run_shard(data_dir=tmp_path) as shard:
        await fill_shard(shard)
        await shard.manager.committer.put_global(StoredGlobal(2, 3, b""))
    with closing(sqlite3.connect(tmp_path / "shard.db")) as connection, connection:
        assert connection.execute(damage).rowcount

    await require_damaged(DAMAGES[damage], data_dir=tmp_path)


async def test_check_says_which_shared_pattern_is_damaged(tmp_path: Path) -> None:
    async with run_shard(data_dir=tmp_path, k_anonymity=Count(2)) as shard:
        households = Households(shard.manager)
        for device in range(3):
            await households.upsert(device)
        await households.run_epoch()
    assert (await run_command("check", data_dir=tmp_path, k_anonymity="2")).status == 0
    with closing(sqlite3.connect(tmp_path / "shard.db")) as connection, connection:
        damage = "row = CAST(substr(row, 1, 200) || x'7f' || substr(row, 202) AS BLOB)"
        connection.execute(f"UPDATE grouping SET {damage} WHERE slot = 0")  # noqa: S608

    checked = await run_command("check", data_dir=tmp_path, k_anonymity="2")

    assert checked.status == 1
    digest, pattern, *_ = checked.out.splitlines()
    assert digest.startswith("digest of the groups: the last commit says ")
    assert "1 shared patterns have other embeddings than what they name, the first in" in pattern


async def test_a_damaged_catalogue_is_found_on_postgresql(postgres_url: str) -> None:
    async with run_shard(postgres_url=postgres_url) as shard:
        await fill_shard(shard)
    execute(postgres_url, "UPDATE constellation.content SET title = 'Solarit'")
    await require_damaged("catalogue digest: the last write says ", postgres_url=postgres_url)
    execute(postgres_url, "UPDATE constellation.shard SET catalogue_digest = NULL")  # as by migrate
    async with run_shard(postgres_url=postgres_url):
        pass
    assert (await run_command("check", postgres_url=postgres_url)).status == 0

    execute(
        postgres_url,
        "UPDATE constellation.content"
        " SET embedding = overlay(embedding::text PLACING '[3,' FROM 1 FOR 3)::halfvec",
    )

    await require_damaged("catalogue digest: the last write says ", postgres_url=postgres_url)


async def require_damaged(start: str, **settings: Any) -> None:
    checked = await run_command("check", **settings)
    served = await run_command("serve", grpc_addr="127.0.0.1:0", **settings)

    assert checked.status == served.status == 1
    problem, outcome, remedy = checked.out.splitlines()
    assert problem.startswith(start)
    assert outcome.startswith("DAMAGED: ")
    assert remedy.endswith("add the catalogue again from its source")
    assert f"is damaged: {problem}. {remedy}" in served.err


async def test_the_digest_of_an_earlier_schema_is_computed_by_the_first_serve(
    tmp_path: Path,
) -> None:
    async with run_shard(data_dir=tmp_path) as shard:
        await fill_shard(shard)
    digest = set_catalogue_digest(tmp_path, None)
    assert (await run_command("check", data_dir=tmp_path)).status == 0

    async with run_shard(data_dir=tmp_path):
        pass

    assert digest not in (None, 0)
    assert set_catalogue_digest(tmp_path, None) == digest


def set_catalogue_digest(data_dir: Path, digest: int | None) -> int | None:
    """Change the stored digest; return the earlier one."""
    with closing(sqlite3.connect(data_dir / "shard.db")) as connection, connection:
        before: int | None
        (before,) = connection.execute("SELECT catalogue_digest FROM shard").fetchone()
        connection.execute("UPDATE shard SET catalogue_digest = ?", (digest,))
    return before
