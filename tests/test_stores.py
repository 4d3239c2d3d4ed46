from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from constellation.config import Region, Secret, ShardConfig
from constellation.core.store import CommitWrites, Totals
from constellation.core.store_identity import StoreIdentity
from constellation.errors import ConfigError
from constellation.storage.memory import MemoryPatternStore
from constellation.storage.snapshots import IndexSnapshots
from constellation.stores import (
    describe_location,
    open_reader,
    open_snapshots,
    open_store,
    to_postgres_settings,
)
from federation.journal.open import open_journal
from tests.storage.postgres.stores import execute

if TYPE_CHECKING:
    from pathlib import Path

    from tests.databases import Databases


async def test_the_settings_choose_the_kind_of_store(tmp_path: Path, postgres_url: str) -> None:
    configs = (
        ShardConfig(),
        ShardConfig(data_dir=tmp_path / "sqlite"),
        ShardConfig(data_dir=tmp_path / "cache", postgres_url=Secret(postgres_url)),
    )

    kinds = []
    for config in configs:
        async with open_store(config) as store:
            kinds.append(store.kind)

    assert kinds == ["memory", "sqlite", "postgres"]
    assert not (tmp_path / "cache" / "shard.db").exists()


async def test_a_database_is_migrated_at_the_start_only_when_asked(databases: Databases) -> None:
    with databases.open_database(template="template1") as url:
        with pytest.raises(ConfigError, match="MIGRATE_ON_START=1"):
            async with open_store(ShardConfig(postgres_url=Secret(url))):
                pass

        async with open_store(
            ShardConfig(postgres_url=Secret(url), migrate_on_start=True)
        ) as store:
            assert await store.read_totals() == Totals()


async def test_a_process_on_the_same_data_directory_is_the_same_owner(
    tmp_path: Path, postgres_url: str
) -> None:
    config = ShardConfig(data_dir=tmp_path, postgres_url=Secret(postgres_url))
    owners = []
    for _ in range(2):
        async with open_store(config) as store:
            await store.take_epoch()
            owners.append(execute(postgres_url, "SELECT owner FROM constellation.shard"))

    assert owners[0] == owners[1]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_a_reader_reads_what_a_store_wrote(
    tmp_path: Path, postgres_url: str, kind: str
) -> None:
    url = Secret(postgres_url) if kind == "postgres" else None
    config = ShardConfig(data_dir=tmp_path, postgres_url=url)
    async with open_store(config) as store:
        await store.commit(await store.take_epoch(), CommitWrites(Totals(1)))

    async with open_reader(config) as reader:
        assert reader.kind == kind
        assert await reader.read_totals() == Totals(1)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_a_store_of_another_shard_or_region_is_refused(
    tmp_path: Path, postgres_url: str, kind: str
) -> None:
    url = Secret(postgres_url) if kind == "postgres" else None
    south = ShardConfig(data_dir=tmp_path, postgres_url=url, shard_id=1, region=Region("south"))
    async with open_store(south, "south") as store:
        await store.take_epoch()
    async with open_store(south) as store:  # an import needs no REGION
        assert await store.read_identity() == StoreIdentity(1, "south", 384)

    other = replace(south, shard_id=0)
    for command in (open_store(other), open_store(other, "south")):
        with pytest.raises(ConfigError, match=r" belongs to shard 1.*SHARD_ID is 0"):
            async with command:
                pass
    with pytest.raises(ConfigError, match="belongs to region south, REGION is north"):
        async with open_store(south, "north"):
            pass


async def test_an_owner_of_two_shards_serves_either(tmp_path: Path, postgres_url: str) -> None:
    """An earlier version let SHARD_ID change on one DATA_DIR, which left two rows."""
    config = ShardConfig(data_dir=tmp_path, postgres_url=Secret(postgres_url))
    async with open_store(config) as store:
        await store.take_epoch()
    execute(
        postgres_url,
        "INSERT INTO constellation.shard (shard_id, secret, owner)"
        " SELECT 5, secret, owner FROM constellation.shard",
    )

    for shard_id in (0, 5):
        async with open_store(replace(config, shard_id=shard_id)) as store:
            await store.take_epoch()


async def test_a_data_directory_of_another_shard_cannot_be_read(tmp_path: Path) -> None:
    async with open_store(ShardConfig(data_dir=tmp_path, shard_id=1), "south"):
        pass

    with pytest.raises(ConfigError, match=f"{tmp_path} belongs to shard 1, SHARD_ID is 0"):
        async with open_reader(ShardConfig(data_dir=tmp_path)):
            pass


async def test_shards_share_a_database(postgres_url: str, tmp_path: Path) -> None:
    for shard_id in (0, 1):
        config = ShardConfig(
            data_dir=tmp_path / str(shard_id), postgres_url=Secret(postgres_url), shard_id=shard_id
        )
        async with open_store(config, f"region {shard_id}") as store:
            await store.take_epoch()

    found = execute(postgres_url, "SELECT shard_id, region FROM constellation.shard ORDER BY 1")
    assert found == [(0, "region 0"), (1, "region 1")]


async def test_a_shard_and_a_federation_refuse_the_directory_of_the_other(tmp_path: Path) -> None:
    async with open_store(ShardConfig(data_dir=tmp_path / "shard")):
        pass
    async with open_journal(tmp_path / "journal", None) as journal:
        await journal.become_active()

    with pytest.raises(ConfigError, match=r"shard holds a shard \(shard.db\): name another"):
        async with open_journal(tmp_path / "shard", None) as journal:
            await journal.become_active()
    with pytest.raises(ConfigError, match="holds the journal of a federation"):
        async with open_store(ShardConfig(data_dir=tmp_path / "journal")):
            pass
    assert not (tmp_path / "shard" / "federation.db").exists()
    assert not (tmp_path / "journal" / "shard.db").exists()


@pytest.mark.parametrize(
    ("kind", "content"),
    [("sqlite", r"a shard \(shard.db\)"), ("postgres", r"a shard with POSTGRES_URL \(OWNER\)")],
)
async def test_a_federation_does_not_wait_for_the_directory_of_a_running_shard(
    tmp_path: Path, postgres_url: str, kind: str, content: str
) -> None:
    url = Secret(postgres_url) if kind == "postgres" else None
    async with (
        open_store(ShardConfig(data_dir=tmp_path, postgres_url=url)),
        open_journal(tmp_path, None) as journal,
    ):
        with pytest.raises(ConfigError, match=f"holds {content}: name another"):
            await asyncio.wait_for(journal.become_active(), 10)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_a_shard_names_whose_directory_a_running_federation_has(
    tmp_path: Path, postgres_url: str, kind: str
) -> None:
    url = Secret(postgres_url) if kind == "postgres" else None
    async with open_journal(tmp_path, None) as journal:
        await journal.become_active()

        with pytest.raises(ConfigError, match=r"holds the journal of a federation \(federation.db"):
            async with open_store(ShardConfig(data_dir=tmp_path, postgres_url=url)):
                pass


async def test_a_store_that_is_not_there_cannot_be_read(tmp_path: Path) -> None:
    for config, message in (
        (ShardConfig(), "DATA_DIR or POSTGRES_URL is required"),
        (ShardConfig(data_dir=tmp_path), "DATA_DIR: there is no shard in"),
    ):
        with pytest.raises(ConfigError, match=message):
            async with open_reader(config):
                pass


async def test_a_shard_that_the_database_lacks_cannot_be_read(postgres_url: str) -> None:
    with pytest.raises(ConfigError, match="has no shard 7: check SHARD_ID"):
        async with open_reader(ShardConfig(postgres_url=Secret(postgres_url), shard_id=7)):
            pass


def test_a_location_is_described_without_its_password(tmp_path: Path) -> None:
    url = Secret("postgresql://me:hunter2@db/shards")

    assert describe_location(ShardConfig()) == "memory"
    assert describe_location(ShardConfig(data_dir=tmp_path)) == str(tmp_path)
    assert describe_location(ShardConfig(postgres_url=url, shard_id=7)) == (
        "PostgreSQL at db:5432, database shards, user me, shard 7"
    )
    assert "hunter2" not in repr(to_postgres_settings(ShardConfig(postgres_url=url), owner="test"))


async def test_index_snapshots_need_a_data_directory(tmp_path: Path) -> None:
    store = MemoryPatternStore()

    assert await open_snapshots(ShardConfig(), store) is None
    assert isinstance(await open_snapshots(ShardConfig(data_dir=tmp_path), store), IndexSnapshots)
