"""A synthetic fleet: patterns of real films, which many devices share because tastes recur."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.store import Content
from constellation.encoding import DIMENSION, normalise_codes, quantise
from testing.catalogue import load_catalogue

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.encoding import Codes, Embeddings

TASTE_FILMS: Final = 6
"""Films of a taste: one film, and those that are nearest to it in a sample of the catalogue."""
MIN_FILMS: Final = 2
"""The least number of films of its taste that a pattern names: the first ones."""
_PATTERNS_PER_TASTE: Final = 48
"""On average; there are no more tastes than films."""
_SKEW: Final = 1.5
"""1 makes all tastes equally frequent; a larger number makes the first ones more frequent."""
_SAMPLE: Final = 2048
"""Films among which the others of a taste are looked for."""
_JITTER: Final = 0.15
"""Length of the random vector that makes each pattern different, relative to the pattern."""
_BLOCK: Final = 16_384


@dataclass(frozen=True, slots=True, eq=False)
class NamedPatterns:
    """Patterns with the films that they are the sums of, row by row."""

    codes: Codes
    """Shape (n, DIMENSION)."""
    films: NDArray[np.uint32]
    """Shape (n, TASTE_FILMS): rows of the catalogue of films plus 1; 0 after the last film."""


def make_contents() -> list[Content]:
    """Return all films as content items without genres; patterns name them by their rows."""
    catalogue = load_catalogue()
    return [
        Content(film.content_id, film.title, 1, (), film.year, codes.tobytes())
        for film, codes in zip(catalogue.films, catalogue.codes, strict=True)
    ]


def make_named_patterns(count: int, seed: int = 5) -> NamedPatterns:
    """Return patterns that depend on the count and the seed alone.

    Each has a taste, and is the sum of the first two to six films of it with some noise, so
    several devices have nearly the same pattern, as in a fleet that is much larger than its
    catalogue.
    """
    random = np.random.default_rng(seed)
    embeddings = load_catalogue().embeddings
    tastes = _make_tastes(embeddings, count // _PATTERNS_PER_TASTE + 1, random)
    codes = np.empty((count, DIMENSION), np.int8)
    films = np.zeros((count, TASTE_FILMS), np.uint32)
    for start in range(0, count, _BLOCK):
        block = slice(start, min(start + _BLOCK, count))
        size = block.stop - start
        chosen = tastes[(len(tastes) * random.random(size) ** _SKEW).astype(np.int64)]
        named = random.integers(MIN_FILMS, TASTE_FILMS, size, endpoint=True)
        is_named = np.arange(TASTE_FILMS) < named[:, None]
        films[block] = np.where(is_named, chosen + 1, 0)
        sums = np.zeros((size, DIMENSION), np.float32)
        for column in range(TASTE_FILMS):
            sums += embeddings[chosen[:, column]] * is_named[:, column, None]
        noise = random.standard_normal((size, DIMENSION), np.float32) / np.sqrt(DIMENSION)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        codes[block] = quantise(sums + (_JITTER * lengths * noise).astype(np.float32))[0]
    return NamedPatterns(codes, films)


def make_queries(count: int, seed: int = 6) -> Embeddings:
    """Return the unit embeddings of other patterns of the same kind."""
    return normalise_codes(make_named_patterns(count, seed).codes)


def _make_tastes(
    embeddings: Embeddings, count: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """Return the rows of the films of each taste, shape (n, TASTE_FILMS)."""
    first = random.permutation(len(embeddings))[:count]
    sample = random.choice(len(embeddings), min(_SAMPLE, len(embeddings)), replace=False)
    tastes = np.empty((len(first), TASTE_FILMS), np.int64)
    tastes[:, 0] = first
    for start in range(0, len(first), _BLOCK):
        block = first[start : start + _BLOCK]
        cosines = embeddings[block] @ embeddings[sample].T
        cosines[block[:, None] == sample] = -np.inf
        nearest = np.argpartition(-cosines, TASTE_FILMS - 1, axis=1)[:, : TASTE_FILMS - 1]
        tastes[start : start + len(block), 1:] = sample[nearest]
    return tastes
