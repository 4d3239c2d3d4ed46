from __future__ import annotations

import errno
import resource
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from constellation_settop import Outbox, StorageError
from constellation_settop.storage.problems import explain_error
from tests.clients.samples import make_learned_changes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HOLD_OPEN = """
import sys
from constellation_settop import Outbox
with Outbox.open(sys.argv[1]):
    print("open", flush=True)
    sys.stdin.read()
"""


@contextmanager
def limit_file_size(size: int) -> Iterator[None]:
    """Let the system refuse every write beyond this many bytes of a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_another_process_has_open_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD_OPEN, str(tmp_path / "a")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with (
            pytest.raises(StorageError, match="open in another process: end that one"),
            Outbox.open(tmp_path / "a"),
        ):
            pass
        other.communicate()


def test_a_missing_directory_says_what_to_give(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match="give a directory that exists"),
        Outbox.open(tmp_path / "missing" / "a"),
    ):
        pass


def test_a_directory_in_place_of_the_file_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot open"), Outbox.open(tmp_path):
        pass


def test_a_damaged_file_that_cannot_be_moved_aside_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"not a database" * 100)
    (tmp_path / "a.damaged").mkdir()
    with pytest.raises(StorageError, match="cannot open"), Outbox.open(tmp_path / "a"):
        pass


def test_a_write_that_the_system_refuses_is_a_storage_error_and_loses_nothing(
    tmp_path: Path,
) -> None:
    with Outbox.open(tmp_path / "a") as outbox:
        outbox.append(make_learned_changes(1))
        size = (tmp_path / "a-wal").stat().st_size
        with (
            limit_file_size(size),
            pytest.raises(StorageError, match=r"check the disk|free space"),
        ):
            outbox.append(make_learned_changes(*range(2, 60)))
        assert outbox.write_problem is not None

        assert list(outbox.append(make_learned_changes(2))) == [2]
        assert outbox.write_problem is None
        assert len(outbox.read_learned()) == 2


@pytest.mark.parametrize(
    "table", ["deltas", "patterns", "watched", "similar", "acked_deltas", "device_state"]
)
def test_everything_that_reads_or_writes_raises_storage_errors_only(
    tmp_path: Path, table: str
) -> None:
    """A dropped table makes SQLite fail wherever the table is used."""
    with Outbox.open(tmp_path / "a", keep_journal=True) as outbox:
        outbox.append(make_learned_changes(1))
        outbox.mark_sent(1)
        outbox.file.connection.execute(f"DROP TABLE {table}")
        failures = 0
        uses: tuple[Callable[[], object], ...] = (
            lambda: outbox.read_delta(1),
            lambda: outbox.append(make_learned_changes(2)),
            outbox.compact_to_snapshot,
            lambda: outbox.acknowledge(1),
            lambda: outbox.apply_rules(quality_threshold=0.5, patterns_per_delta=9),
            lambda: outbox.global_state,
            outbox.read_learned,
            outbox.read_watched,
            lambda: list(outbox.read_journal()),
        )
        for use in uses:
            try:
                use()
            except StorageError:
                failures += 1

    assert failures


def test_an_error_of_the_system_says_what_to_do() -> None:
    error = PermissionError(errno.EACCES, "Permission denied")

    assert explain_error(error).startswith("Permission denied: give a directory")
