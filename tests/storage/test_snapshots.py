from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from structlog.testing import capture_logs

from constellation.storage.snapshots import IndexSnapshots

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SECRET = bytes(range(32))
PAYLOAD = np.arange(1000, dtype=np.uint8)


@pytest.mark.parametrize("payload", [PAYLOAD, PAYLOAD.tobytes(), b""])
def test_a_snapshot_comes_back_as_written(
    tmp_path: Path, payload: NDArray[np.uint8] | bytes
) -> None:
    snapshots = IndexSnapshots(tmp_path, SECRET)

    snapshots.write(7, payload)

    found = snapshots.read()
    assert found is not None
    assert (found[0], found[1].tobytes()) == (7, bytes(payload))
    assert snapshots.find_newest() == (7, str(tmp_path / "index-7.snapshot"))


def test_an_empty_directory_has_no_snapshot(tmp_path: Path) -> None:
    assert IndexSnapshots(tmp_path, SECRET).read() is None
    assert IndexSnapshots(tmp_path, SECRET).find_newest() is None


def test_older_snapshots_are_deleted(tmp_path: Path) -> None:
    snapshots = IndexSnapshots(tmp_path, SECRET)
    (tmp_path / "index-8.unfinished").touch()

    snapshots.write(9, b"nine")
    snapshots.write(10, b"ten")

    assert [path.name for path in tmp_path.iterdir()] == ["index-10.snapshot"]


def test_a_damaged_snapshot_is_skipped_for_an_older_one(tmp_path: Path) -> None:
    snapshots = IndexSnapshots(tmp_path, SECRET)
    snapshots.write(9, b"nine")
    older = (tmp_path / "index-9.snapshot").read_bytes()
    snapshots.write(10, b"ten")
    (tmp_path / "index-9.snapshot").write_bytes(older)
    sound = (tmp_path / "index-10.snapshot").read_bytes()

    for at in range(len(sound)):
        damaged = bytearray(sound)
        damaged[at] ^= 0x10
        (tmp_path / "index-10.snapshot").write_bytes(damaged)
        with capture_logs() as logs:
            found = snapshots.read()

        assert found is not None
        assert (found[0], found[1].tobytes()) == (9, b"nine")
        assert logs[0]["event"] == "snapshot_unusable"
        assert logs[0]["path"].endswith("index-10.snapshot")
    assert snapshots.find_newest() == (10, str(tmp_path / "index-10.snapshot"))


def test_a_snapshot_cut_short_is_skipped(tmp_path: Path) -> None:
    snapshots = IndexSnapshots(tmp_path, SECRET)
    snapshots.write(3, PAYLOAD)
    path = tmp_path / "index-3.snapshot"
    sound = path.read_bytes()

    for length in (0, 10, 56, len(sound) - 1):
        path.write_bytes(sound[:length])

        assert snapshots.read() is None


def test_a_snapshot_of_another_shard_is_refused_by_name(tmp_path: Path) -> None:
    IndexSnapshots(tmp_path, bytes(32)).write(3, PAYLOAD)

    with capture_logs() as logs:
        assert IndexSnapshots(tmp_path, SECRET).read() is None

    assert logs[0]["path"] == str(tmp_path / "index-3.snapshot")
    assert logs[0]["reason"] == "this shard did not write it, or it was changed since"


def test_a_snapshot_under_the_name_of_another_commit_is_refused(tmp_path: Path) -> None:
    """Its lsn decides which changes are read from the log of changes."""
    snapshots = IndexSnapshots(tmp_path, SECRET)
    snapshots.write(3, PAYLOAD)
    (tmp_path / "index-3.snapshot").rename(tmp_path / "index-4.snapshot")

    assert snapshots.read() is None
