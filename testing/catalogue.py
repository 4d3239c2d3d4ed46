"""The catalogue of films with their embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from constellation.encoding import Codes, Embeddings, normalise_codes
from testing.films import Film, load_films

EMBEDDINGS_FILE = Path(__file__).with_name("films-minilm-int8.npz")
"""Made by `make embeddings`: arrays `content_ids` (n,), bytes, and `codes` (n, DIMENSION), int8."""


@dataclass(frozen=True, slots=True, eq=False)
class FilmCatalogue:
    """Films and their embeddings, row by row. It owns its arrays, which are read-only."""

    films: list[Film]
    codes: Codes
    """Shape (n, DIMENSION)."""
    embeddings: Embeddings
    """Shape (n, DIMENSION): `codes` with unit length."""


def load_catalogue() -> FilmCatalogue:
    """Return every film and its embedding, ordered by content id.

    Raises ValueError when the embeddings are those of another release of the films.
    """
    films = load_films()
    with np.load(EMBEDDINGS_FILE) as file:
        content_ids, codes = file["content_ids"], file["codes"]
    if content_ids.tolist() != [film.content_id.encode() for film in films]:
        raise ValueError(
            f"{EMBEDDINGS_FILE.name} has the embeddings of other films: run `make embeddings`"
        )
    embeddings = normalise_codes(codes)
    codes.flags.writeable = False
    embeddings.flags.writeable = False
    return FilmCatalogue(films, codes, embeddings)
