"""Real patterns for benchmarks and recall tests: tastes of real households, in any number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from constellation.encoding import DIMENSION, quantise
from testing.catalogue import load_catalogue
from testing.viewings import LIKED, Viewings, load_viewings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.encoding import Codes, Embeddings

NEIGHBOURS = 8
"""Films a pattern may combine with the one it starts from."""

MIN_FILMS, MAX_FILMS = 2, 6
CHUNK = 8192


def sample_patterns(count: int, seed: int = 7) -> Codes:
    """Return patterns as they are stored, shape (count, DIMENSION); a seed always gives the same.

    A pattern is the average of two to six films that one household liked and that lie close
    together: one at random, and some of the eight nearest to it among those it liked.
    """
    catalogue = load_catalogue()
    nearest = _find_nearest_liked(load_viewings(catalogue.films), catalogue.embeddings)
    random = np.random.default_rng(seed)
    codes = np.empty((count, DIMENSION), dtype=np.int8)
    for start in range(0, count, CHUNK):
        part = codes[start : start + CHUNK]
        films = _draw_films(nearest, len(part), random)
        sums = np.einsum(
            "nfd,nf->nd", catalogue.embeddings[films], _draw_weights(films.shape, random)
        )
        part[:] = quantise(sums)[0]  # a code has no scale: dividing by the norm changes nothing
    return codes


def _find_nearest_liked(viewings: Viewings, embeddings: Embeddings) -> NDArray[np.int64]:
    """Return, per liked film of each household, its row and the nearest others', nearest first."""
    liked = viewings.select(viewings.ratings >= LIKED)
    tables = [np.empty((0, NEIGHBOURS + 1), dtype=np.int64)]
    for household in np.unique(liked.households):
        rows = liked.content_rows[liked.households == household]
        if len(rows) <= NEIGHBOURS:
            continue
        cosines = embeddings[rows] @ embeddings[rows].T
        np.fill_diagonal(cosines, np.inf)  # itself comes first
        tables.append(rows[np.argsort(-cosines, axis=1, kind="stable")[:, : NEIGHBOURS + 1]])
    return np.concatenate(tables)


def _draw_films(
    nearest: NDArray[np.int64], count: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """Return MOST_FILMS films per pattern, shape (count, MOST_FILMS), the starting one first."""
    table = nearest[random.integers(len(nearest), size=count)]
    others = random.permuted(table[:, 1:], axis=1)[:, : MAX_FILMS - 1]
    return np.concatenate([table[:, :1], others], axis=1)


def _draw_weights(shape: tuple[int, ...], random: np.random.Generator) -> NDArray[np.float32]:
    """Return 1 for the films a pattern takes and 0 for the rest, shape (count, MOST_FILMS)."""
    taken = random.integers(MIN_FILMS, MAX_FILMS, size=shape[0], endpoint=True)
    return (np.arange(shape[1]) < taken[:, None]).astype(np.float32)
