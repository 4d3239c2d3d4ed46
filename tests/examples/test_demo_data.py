from __future__ import annotations

import numpy as np
import pytest

from constellation.cli.text_embedding import open_model
from constellation.encoding import DIMENSION, normalise_codes
from testing.catalogue import FilmCatalogue, load_catalogue
from testing.patterns import sample_patterns
from testing.viewings import (
    EVENING_HOURS,
    LIKED,
    WEEK_SECONDS,
    Viewings,
    load_ratings,
    load_viewings,
    match_films,
    select_households,
    spread_over_week,
)

NOW = 1_800_000_000.0


@pytest.fixture(scope="module")
def catalogue() -> FilmCatalogue:
    return load_catalogue()


@pytest.fixture(scope="module")
def viewings(catalogue: FilmCatalogue) -> Viewings:
    return load_viewings(catalogue.films)


def test_the_model_still_gives_the_stored_embeddings(catalogue: FilmCatalogue) -> None:
    model = open_model()
    rows = np.linspace(0, len(catalogue.films) - 1, 24).astype(int)

    made = np.stack([model.embed(catalogue.films[row].text) for row in rows])

    cosines = np.einsum("ij,ij->i", made, catalogue.embeddings[rows])
    assert cosines.min() >= 0.999


def test_content_ids_are_unique(catalogue: FilmCatalogue) -> None:
    content_ids = {film.content_id for film in catalogue.films}

    assert len(content_ids) == len(catalogue.films) == len(catalogue.codes)


def test_a_star_wars_film_is_nearest_to_other_star_wars_films(catalogue: FilmCatalogue) -> None:
    titles = [film.title for film in catalogue.films]
    film = next(row for row, title in enumerate(titles) if "The Empire Strikes Back" in title)

    nearest = np.argsort(-(catalogue.embeddings @ catalogue.embeddings[film]))[:4]

    assert all("Star Wars" in titles[row] for row in nearest)


def test_the_catalogue_covers_most_ratings(catalogue: FilmCatalogue) -> None:
    rows = match_films(catalogue.films, load_ratings())

    assert (rows >= 0).mean() >= 0.85


def test_viewings_are_in_time_order_and_name_their_film(
    catalogue: FilmCatalogue, viewings: Viewings
) -> None:
    named = [catalogue.films[row].content_id for row in viewings.content_rows]

    assert (np.diff(viewings.timestamps) >= 0).all()
    assert named == viewings.content_ids.tolist()


def test_a_liked_film_was_watched_with_more_interest(viewings: Viewings) -> None:
    rewards = 0.7 * viewings.watch_percentages + 0.3 * viewings.engagements

    assert (rewards[viewings.ratings >= LIKED] > 0.7).mean() > 0.99
    assert (rewards[viewings.ratings <= 3] > 0.7).mean() < 0.05
    assert rewards.min() >= 0
    assert rewards.max() <= 1


def test_the_same_households_are_selected_every_time(viewings: Viewings) -> None:
    chosen = select_households(viewings, households=50)

    again = select_households(viewings, households=50)

    _, counts = np.unique(chosen.households, return_counts=True)
    assert len(counts) == 50
    assert counts.min() >= 20
    assert chosen.households.tolist() == again.households.tolist()
    assert chosen.watch_percentages.tolist() == again.watch_percentages.tolist()


def test_more_households_than_there_are_is_an_error(viewings: Viewings) -> None:
    with pytest.raises(ValueError, match="households have 20 viewings"):
        select_households(viewings, households=10_000)


def test_every_household_watches_in_its_own_order_on_seven_evenings(viewings: Viewings) -> None:
    some = select_households(viewings, households=20)

    watched, times = spread_over_week(some, NOW)

    assert len(watched) == len(some)
    assert (np.diff(times) >= 0).all()
    assert times[0] >= NOW - WEEK_SECONDS
    assert times[-1] <= NOW
    assert ((NOW - times) % 86_400 <= EVENING_HOURS * 3600).all()
    for household in np.unique(some.households):
        before = some.content_ids[some.households == household]
        assert watched.content_ids[watched.households == household].tolist() == before.tolist()


def test_patterns_are_real_distinct_and_the_same_for_a_seed() -> None:
    codes = sample_patterns(2_000)

    again = sample_patterns(2_000)

    assert codes.shape == (2_000, DIMENSION)
    assert codes.dtype == np.int8
    assert (codes == again).all()
    assert len(np.unique(codes, axis=0)) > 1_900
    assert 0.7 < np.linalg.norm(normalise_codes(codes).mean(axis=0)) < 0.95
