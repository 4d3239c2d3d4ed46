"""The films and viewings that a run of the demo uses."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from examples.demo.households import select_held_out, to_settop_catalogue
from examples.demo.process import DemoError
from testing.catalogue import load_catalogue
from testing.viewings import load_viewings, select_households, spread_over_week

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from constellation_settop import Catalogue
    from testing.catalogue import FilmCatalogue
    from testing.viewings import Viewings


@dataclass(frozen=True, slots=True, eq=False)
class DemoData:
    """The films and viewings of one run."""

    films: FilmCatalogue
    """The films, for the shards."""
    catalogue: Catalogue
    """The same films, for the devices."""
    watched: Viewings
    """The viewings that devices replay."""
    times: NDArray[np.int64]
    """Shape (len(watched),): when each viewing happens in the replay, in seconds since 1970."""
    held_out: Viewings
    """The viewings that devices never see: the last films that each household liked."""
    household_numbers: Sequence[int]
    """MovieLens user ids of the households."""


def load_data(households: int) -> DemoData:
    """Load all data. Raises DemoError when there are fewer households than asked for."""
    films = load_catalogue()
    try:
        viewings = select_households(load_viewings(films.films), households=households)
    except ValueError as error:
        raise DemoError(str(error)) from error
    held = select_held_out(viewings)
    watched, times = spread_over_week(viewings.select(~held), time.time())
    numbers: list[int] = np.unique(viewings.households).tolist()
    return DemoData(
        films=films,
        catalogue=to_settop_catalogue(films),
        watched=watched,
        times=times.astype(np.int64),
        held_out=viewings.select(held),
        household_numbers=numbers,
    )
