"""Any number of realistic patterns for benchmarks and recall tests, made from real ratings."""

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
"""Nearest films from which a pattern takes those that it combines with its first film."""

MIN_FILMS, MAX_FILMS = 2, 6
"""Films in one pattern."""

CHUNK = 8192
"""Patterns that are computed together, which bounds the memory."""


def sample_patterns(count: int, seed: int = 7) -> Codes:
    """Return the codes of patterns, shape (count, DIMENSION). They depend on count and seed alone.

    A pattern is the average of two to six similar films that one household liked: a random one, and
    some of the eight films nearest to it among the others that the household liked.
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
        part[:] = quantise(sums)[0]  # the scale of the sum does not change the codes
    return codes


def _find_nearest_liked(viewings: Viewings, embeddings: Embeddings) -> NDArray[np.int64]:
    """Return the row of each liked film of each household, followed by the NEIGHBOURS nearest rows.

    Shape (n, NEIGHBOURS + 1). Households that liked NEIGHBOURS films or fewer are left out.
    """
    liked = viewings.select(viewings.ratings >= LIKED)
    tables = [np.empty((0, NEIGHBOURS + 1), dtype=np.int64)]
    for household in np.unique(liked.households):
        rows = liked.content_rows[liked.households == household]
        if len(rows) <= NEIGHBOURS:
            continue
        cosines = embeddings[rows] @ embeddings[rows].T
        np.fill_diagonal(cosines, np.inf)  # so that each film comes first in its row
        tables.append(rows[np.argsort(-cosines, axis=1, kind="stable")[:, : NEIGHBOURS + 1]])
    return np.concatenate(tables)


def _draw_films(
    nearest: NDArray[np.int64], count: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """Return the rows of films for each pattern, shape (count, MAX_FILMS), the first film first."""
    table = nearest[random.integers(len(nearest), size=count)]
    others = random.permuted(table[:, 1:], axis=1)[:, : MAX_FILMS - 1]
    return np.concatenate([table[:, :1], others], axis=1)


def _draw_weights(shape: tuple[int, ...], random: np.random.Generator) -> NDArray[np.float32]:
    """Return 1 for the films that a pattern uses and 0 for the others, shape (count, MAX_FILMS)."""
    taken = random.integers(MIN_FILMS, MAX_FILMS, size=shape[0], endpoint=True)
    return (np.arange(shape[1]) < taken[:, None]).astype(np.float32)
