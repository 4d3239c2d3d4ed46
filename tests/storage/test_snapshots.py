from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from structlog.testing import capture_logs

from constellation.storage.snapshots import IndexSnapshots

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

PAYLOAD = np.arange(1000, dtype=np.uint8)


@pytest.mark.parametrize("payload", [PAYLOAD, PAYLOAD.tobytes(), b""])
def test_a_snapshot_comes_back_as_written(
    tmp_path: Path, payload: NDArray[np.uint8] | bytes
) -> None:
    snapshots = IndexSnapshots(tmp_path)

    snapshots.write(7, payload)

    found = snapshots.read()
    assert found is not None
    assert (found[0], found[1].tobytes()) == (7, bytes(payload))
    assert snapshots.find_newest() == (7, str(tmp_path / "index-7.snapshot"))


def test_an_empty_directory_has_no_snapshot(tmp_path: Path) -> None:
    assert IndexSnapshots(tmp_path).read() is None
    assert IndexSnapshots(tmp_path).find_newest() is None


def test_older_snapshots_are_deleted(tmp_path: Path) -> None:
    snapshots = IndexSnapshots(tmp_path)
    (tmp_path / "index-8.unfinished").touch()

    snapshots.write(9, b"nine")
    snapshots.write(10, b"ten")

    assert [path.name for path in tmp_path.iterdir()] == ["index-10.snapshot"]


def test_a_damaged_snapshot_is_skipped_for_an_older_one(tmp_path: Path) -> None:
    snapshots = IndexSnapshots(tmp_path)
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
    snapshots = IndexSnapshots(tmp_path)
    snapshots.write(3, PAYLOAD)
    path = tmp_path / "index-3.snapshot"
    sound = path.read_bytes()

    for length in (0, 10, 28, len(sound) - 1):
        path.write_bytes(sound[:length])

        assert snapshots.read() is None
