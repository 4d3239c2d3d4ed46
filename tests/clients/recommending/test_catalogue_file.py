from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from constellation_settop import Brain, Catalogue, ContentType, StorageError
from tests.clients.samples import EVENING, make_catalogue, make_liked_view, make_unit_rows

if TYPE_CHECKING:
    from pathlib import Path


def test_a_catalogue_survives_in_its_file(tmp_path: Path) -> None:
    before = Catalogue(
        ["b", "é", "a"],
        make_unit_rows(3),
        titles=["Brazil", "Été", "Alien"],
        genres=[("drama", "war"), (), ("horror",)],
        content_types=[ContentType.MOVIE, ContentType.CLIP, ContentType.EPISODE],
    )
    before.write(tmp_path / "a")

    after = Catalogue.read(tmp_path / "a")

    assert list(after.content_ids) == ["a", "b", "é"]  # sorted by their bytes
    for content_id in after.content_ids:
        row, other = after.find_row(content_id), before.find_row(content_id)
        assert row is not None
        assert other is not None
        assert after.title(row) == before.title(other)
        assert after.genres(row) == before.genres(other)
        assert after.content_type(row) is before.content_type(other)
        assert (after.embedding(row) == before.embedding(other)).all()


def test_the_same_brain_recommends_the_same_from_a_file(tmp_path: Path) -> None:
    before = make_catalogue()
    before.write(tmp_path / "a")
    answers = []
    for catalogue in (before, Catalogue.read(str(tmp_path / "a"))):
        brain = Brain(catalogue)
        for number in range(5):
            brain.observe(make_liked_view(f"{number % 2}-{number}"))
        answers.append(brain.recommend(EVENING, 20))

    assert answers[0] == answers[1]


def test_an_empty_catalogue_has_a_file_too(tmp_path: Path) -> None:
    Catalogue([], make_unit_rows(0)).write(tmp_path / "a")

    assert not len(Catalogue.read(tmp_path / "a"))


def test_a_file_that_is_being_read_may_be_replaced(tmp_path: Path) -> None:
    make_catalogue(2).write(tmp_path / "a")
    old = Catalogue.read(tmp_path / "a")
    make_catalogue(3).write(tmp_path / "a")

    assert (len(old), len(Catalogue.read(tmp_path / "a"))) == (20, 30)
    assert (old.embeddings == make_catalogue(2).embeddings).all()


def test_a_missing_file_and_a_disk_that_refuses_are_storage_errors(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot read .*No such file"):
        Catalogue.read(tmp_path / "a")
    with pytest.raises(StorageError, match=r"cannot write .*No such file"):
        make_catalogue().write(tmp_path / "missing" / "a")


def test_whatever_byte_of_the_header_is_damaged_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a"
    make_catalogue(1, 3).write(path)
    good = path.read_bytes()
    for position in range(0, good.index(b"]}}"), 7):
        path.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
        with pytest.raises(StorageError, match="no catalogue, or a damaged one"):
            Catalogue.read(path)


@pytest.mark.parametrize("length", [0, 5, 100, -1])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a"
    make_catalogue().write(path)
    path.write_bytes(path.read_bytes()[:length])

    with pytest.raises(StorageError, match="no catalogue, or a damaged one"):
        Catalogue.read(path)


def test_damaged_numbers_never_lead_out_of_a_column(tmp_path: Path) -> None:
    """Whatever is damaged behind the header: the file is refused, or recommends something."""
    path = tmp_path / "a"
    make_catalogue(2, 5).write(path)
    good = np.fromfile(path, np.uint8)
    random = np.random.default_rng(5)
    for _ in range(100):
        damaged = good.copy()
        places = random.integers(4096, len(good), 20)
        damaged[places] = random.integers(0, 256, 20)
        damaged.tofile(path)
        try:
            catalogue = Catalogue.read(path)
        except StorageError:
            continue
        brain = Brain(catalogue)
        brain.observe(make_liked_view("0-1"))
        assert len(brain.recommend(EVENING, 3)) == 3
