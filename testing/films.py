"""The films: 17,000 real ones, CC0, from the package bokeh-sampledata."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

FILMS_SQL = """
SELECT min(ID), imdbID, Title, Year, Genre, Director FROM omdb
WHERE Genre <> '' AND Genre <> 'N/A' GROUP BY imdbID ORDER BY imdbID
"""
"""Query of the films. It merges two films that are listed twice, and skips films without genres.

The text of a film without genres would say too little for an embedding.
"""


@dataclass(frozen=True, slots=True)
class Film:
    """One film of the catalogue."""

    content_id: str
    """`film:` and the IMDb number, so that it stays the same in a new release of the data."""
    title: str
    year: int
    genres: tuple[str, ...]
    text: str
    """The text that is embedded."""


def load_films() -> list[Film]:
    """Return every film that has genres, ordered by content id."""
    database = find_package_file("bokeh_sampledata", "_data/movies.db")
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        rows = connection.execute(FILMS_SQL).fetchall()
    return [
        Film(
            content_id=f"film:{imdb_id}",
            title=title,
            year=year,
            genres=tuple(genres.split(", ")),
            text=_describe_film(title, year, genres, director),
        )
        for _, imdb_id, title, year, genres, director in rows
    ]


def _describe_film(title: str, year: int, genres: str, director: str | None) -> str:
    text = f"{title} ({year}). Genres: {genres}."
    return f"{text} Director: {director}." if director else text


def find_package_file(package: str, path: str) -> Path:
    """Return the path of a file in an installed package, without importing the package.

    Raises ModuleNotFoundError when the package is missing, and FileNotFoundError when it lacks the
    file.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"{package} is not installed", name=package)
    file = Path(spec.submodule_search_locations[0], path)
    if not file.is_file():
        raise FileNotFoundError(f"{package} has no file {path}")
    return file
