from __future__ import annotations

import numpy as np
import pytest

from constellation_settop import Catalogue, ContentType, InvalidArgumentError
from tests.clients.samples import make_catalogue, make_unit_rows


def test_embeddings_are_scaled_to_unit_length_and_kept_as_int8() -> None:
    rows = make_unit_rows(2)

    catalogue = Catalogue(["a", "b"], 3 * rows)

    assert np.linalg.norm(catalogue.embeddings, axis=1) == pytest.approx([1, 1])
    assert np.einsum("ij,ij->i", catalogue.embeddings, rows).min() > 0.999
    assert not catalogue.columns.codes.flags.writeable
    assert (catalogue.embedding(1) == catalogue.embeddings[1]).all()


@pytest.mark.parametrize(
    ("ids", "rows", "message"),
    [
        (["a", "a"], 2, "'a' twice"),
        (["a", ""], 2, "1 to 64 bytes, got 0"),
        (["a", "é" * 33], 2, "1 to 64 bytes, got 66"),
        (["a"], 2, r"shape \(1, 384\), got \(2, 384\)"),
    ],
)
def test_a_wrong_column_is_refused(ids: list[str], rows: int, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        Catalogue(ids, make_unit_rows(rows))


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_an_embedding_without_a_direction_is_refused(value: float) -> None:
    embeddings = make_unit_rows(2)
    embeddings[1] = value

    with pytest.raises(InvalidArgumentError, match="finite and not zero"):
        Catalogue(["a", "b"], embeddings)


def test_a_column_of_another_length_is_refused_by_name() -> None:
    with pytest.raises(InvalidArgumentError, match="titles must have one entry for each of 2"):
        Catalogue(["a", "b"], make_unit_rows(2), titles=["only one"])
    with pytest.raises(InvalidArgumentError, match="genres must have"):
        Catalogue(["a", "b"], make_unit_rows(2), genres=[()])
    with pytest.raises(InvalidArgumentError, match="content_types must have"):
        Catalogue(["a", "b"], make_unit_rows(2), content_types=[])


def test_a_genre_that_is_too_long_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="64 bytes"):
        Catalogue(["a"], make_unit_rows(1), genres=[("x" * 65,)])


def test_content_that_is_missing_is_left_out_of_rows() -> None:
    catalogue = make_catalogue()

    assert catalogue.find_rows(["1-0", "elsewhere", "0-1"]).tolist() == [10, 1]
    assert catalogue.find_row("elsewhere") is None


def test_columns_that_were_not_given_are_empty() -> None:
    catalogue = Catalogue(["a"], make_unit_rows(1))

    assert catalogue.title(0) == ""
    assert catalogue.genres(0) == ()
    assert catalogue.content_type(0) is ContentType.ANY


def test_the_rows_of_a_genre_are_those_that_name_it() -> None:
    rows = make_catalogue(themes=3, contents=4).rows_by_genre

    assert {genre: found.tolist() for genre, found in rows.items()} == {
        "genre-0": [0, 1, 2, 3],
        "genre-1": [4, 5, 6, 7],
        "genre-2": [8, 9, 10, 11],
    }


def test_cosines_are_those_of_embeddings_less_the_mean() -> None:
    shared = 5 * make_unit_rows(1, seed=3)
    catalogue = Catalogue([str(row) for row in range(50)], shared + make_unit_rows(50))
    shifted = catalogue.embeddings - catalogue.embeddings.mean(axis=0)
    units = shifted / np.linalg.norm(shifted, axis=1, keepdims=True)

    cosines = catalogue.compute_cosines(catalogue.centre(catalogue.embeddings[:3]))

    assert cosines.shape == (3, 50)
    assert cosines / 32767 == pytest.approx(np.maximum(units[:3] @ units.T, 0), abs=0.02)


def test_cosines_have_the_same_bits_in_any_block() -> None:
    """A sum of products of INT8 numbers is exact in float32, whatever BLAS does."""
    contents = make_catalogue(10, 100)
    directions = contents.centre(contents.embeddings[:16])

    together = contents.compute_cosines(directions)

    for number in range(16):
        alone = contents.compute_cosines(contents.centre(contents.embeddings[number : number + 1]))
        assert (alone[0] == together[number]).all()


def test_an_embedding_that_equals_the_mean_is_near_nothing() -> None:
    catalogue = Catalogue(["a"], make_unit_rows(1))

    assert not catalogue.compute_cosines(catalogue.centre(make_unit_rows(1))).any()


def test_an_empty_catalogue_has_no_mean() -> None:
    catalogue = Catalogue([], make_unit_rows(0))

    assert not catalogue.columns.mean_codes.any()
    assert catalogue.find_row("a") is None


def test_wrong_shapes_and_types_are_named_with_their_remedy() -> None:
    with pytest.raises(InvalidArgumentError, match=r"got list: write np\.array"):
        Catalogue(["a"], make_unit_rows(1).tolist())
    with pytest.raises(InvalidArgumentError, match="embeddings must be numbers"):
        Catalogue(["a"], np.full((1, 384), "x"))
    with pytest.raises(InvalidArgumentError, match="a sequence of genres, got 'Drama'"):
        Catalogue(["a"], make_unit_rows(1), genres=["Drama"])
    with pytest.raises(InvalidArgumentError, match="must be a str, got 7"):
        Catalogue([7], make_unit_rows(1))  # type: ignore[list-item]  # on purpose
