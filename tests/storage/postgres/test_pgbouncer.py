"""Stores behind PgBouncer in transaction mode, where each transaction uses any connection."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from constellation.errors import FencedError
from constellation.storage.postgres.pool import PostgresSettings
from constellation.storage.postgres.store import open_postgres
from tests.polling import wait_until
from tests.storage.postgres.stores import execute
from tests.storage.samples import make_commit, make_content, read_patterns, to_slots

if TYPE_CHECKING:
    from collections.abc import Iterator

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")

pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="PgBouncer is not installed")


@pytest.fixture
def pooled_url(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database behind PgBouncer, with fewer connections than two stores open."""
    parts = psycopg.conninfo.conninfo_to_dict(postgres_url)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = Path("/tmp") if os.geteuid() == 0 else tmp_path_factory.mktemp("pgbouncer")  # noqa: S108 - that user must read it
    config = folder / f"pgbouncer-{port}.ini"
    server = " ".join(f"{name}={parts[name]}" for name in ("host", "port", "user", "password"))
    config.write_text(
        f"""[databases]
{parts["dbname"]} = {server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 2
"""
    )
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    assert PGBOUNCER is not None
    with subprocess.Popen([PGBOUNCER, "-q", *user, str(config)]) as process:
        try:
            yield psycopg.conninfo.make_conninfo(postgres_url, port=port)
        finally:
            process.terminate()
            config.unlink()


async def test_two_shards_share_the_connections_of_a_pooler(
    postgres_url: str, pooled_url: str
) -> None:
    """The search_path of a session does not find the extension, and no session would keep one."""
    execute(postgres_url, "CREATE SCHEMA extensions; ALTER EXTENSION vector SET SCHEMA extensions")

    async def answers() -> bool:
        try:
            await (await psycopg.AsyncConnection.connect(pooled_url)).close()
        except psycopg.OperationalError:
            return False
        return True

    await wait_until(answers)
    async with (
        open_postgres(PostgresSettings(url=pooled_url, owner="zero")) as zero,
        open_postgres(PostgresSettings(url=pooled_url, owner="one", shard_id=1)) as one,
    ):
        epochs = [await zero.take_epoch(), await one.take_epoch()]
        for lsn in range(1, 21):
            writes = make_commit(lsn, to_slots(lsn, lsn + 100))
            await asyncio.gather(
                zero.commit(epochs[0], writes),
                one.commit(epochs[1], writes),
                zero.put_contents(epochs[0], [make_content(f"film:{lsn}")], [], 0),
                zero.get_content("film:1"),
            )

        assert len(await read_patterns(zero)) == len(await read_patterns(one)) == 40
        assert await zero.count_contents() == 20
        await zero.take_epoch()
        with pytest.raises(FencedError):
            await zero.commit(epochs[0], make_commit(21, to_slots(1)))
