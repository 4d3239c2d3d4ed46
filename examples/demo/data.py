"""What is watched in the demo, and by whom."""

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
    """Films and viewings of one run."""

    films: FilmCatalogue
    catalogue: Catalogue
    watched: Viewings
    """What the devices replay."""
    times: NDArray[np.int64]
    """When each of `watched` happens in the replay: Unix seconds."""
    held_out: Viewings
    household_numbers: Sequence[int]
    """The households, by MovieLens's user id."""


def load_data(households: int) -> DemoData:
    """Load everything. Raises DemoError when there are not so many households."""
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
