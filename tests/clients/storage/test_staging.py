"""Staging keeps whole buckets of a catalogue until all have arrived."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from constellation_settop import StorageError
from constellation_settop.storage.staging import Staging

if TYPE_CHECKING:
    from pathlib import Path

LARGEST = 2**64 - 1


def test_what_arrived_before_an_interruption_is_there_after_it(tmp_path: Path) -> None:
    with Staging.open(tmp_path / "partial") as staging:
        staging.store(8, {3: LARGEST}, [("b", 3, b"B"), ("a", 3, b"A")])
        staging.store(8, {5: 1}, [("ä", 5, b"C")])

    with Staging.open(tmp_path / "partial") as staging:
        assert staging.bucket_count == 8
        assert staging.read_digests() == {3: LARGEST, 5: 1}
        assert list(staging.read_items()) == [("a", b"A"), ("b", b"B"), ("ä", b"C")]
        assert staging.count_items() == 3


def test_a_bucket_that_comes_again_replaces_its_items(tmp_path: Path) -> None:
    with Staging.open(tmp_path / "partial") as staging:
        staging.store(8, {3: 1, 5: 2}, [("a", 3, b"A"), ("b", 5, b"B")])

        staging.store(8, {3: 9}, [("c", 3, b"C")])

        assert [content_id for content_id, _ in staging.read_items()] == ["b", "c"]
        assert staging.read_digests() == {3: 9, 5: 2}


def test_a_file_that_is_no_database_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "partial").write_bytes(b"no database" * 500)

    with Staging.open(tmp_path / "partial") as staging:
        assert staging.bucket_count == 0
        assert staging.count_items() == 0


def test_clearing_forgets_everything(tmp_path: Path) -> None:
    with Staging.open(tmp_path / "partial") as staging:
        staging.store(8, {3: 1}, [("a", 3, b"A")])

        staging.clear()

        assert (staging.bucket_count, staging.read_digests(), staging.count_items()) == (0, {}, 0)


def test_a_missing_directory_is_a_storage_error(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match=r"cannot use .*partial"),
        Staging.open(tmp_path / "missing" / "partial"),
    ):
        pass
