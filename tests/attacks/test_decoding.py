from __future__ import annotations

import numpy as np
import pytest

from attacks.decoding import Decoder
from constellation.encoding import Encoding, decode, encode
from testing.catalogue import load_catalogue


@pytest.fixture(scope="module")
def films() -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return load_catalogue().embeddings


def send(
    total: np.ndarray[tuple[int], np.dtype[np.float32]],
) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Return an embedding as a device receives it."""
    received = decode(encode(total[None], Encoding.INT8), Encoding.INT8)[0]
    unit: np.ndarray[tuple[int], np.dtype[np.float32]] = received / np.linalg.norm(received)
    return unit


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_films_behind_a_sum_are_found(
    films: np.ndarray[tuple[int, int], np.dtype[np.float32]], count: int
) -> None:
    random = np.random.default_rng(count)
    decoder, found = Decoder(films), 0
    for _ in range(20):
        rows = random.choice(len(films), count, replace=False)
        decoded = decoder.decode(send(films[rows].sum(axis=0)))
        found += decoded.is_exact and set(decoded.rows.tolist()) == set(rows.tolist())

    assert found >= 18


def test_a_direction_that_few_films_explain_is_not_exact(
    films: np.ndarray[tuple[int, int], np.dtype[np.float32]],
) -> None:
    noise = np.random.default_rng(1).standard_normal(films.shape[1]).astype(np.float32)

    assert not Decoder(films).decode(send(noise)).is_exact


def test_the_film_by_which_two_sums_differ_is_found(
    films: np.ndarray[tuple[int, int], np.dtype[np.float32]],
) -> None:
    rows = np.random.default_rng(9).choice(len(films), 6, replace=False)
    before, after = films[rows[:5]].sum(axis=0), films[rows].sum(axis=0)

    change = Decoder(films).explain_change(send(before), send(after))

    assert change.is_exact
    assert change.rows.tolist() == [rows[5]]
