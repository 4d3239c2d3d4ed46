"""The household as the device's file has it: its profiles, and what other households contribute."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from constellation_settop.errors import StorageError
from constellation_settop.recommending.brain import Brain
from constellation_settop.recommending.household import Household
from constellation_settop.values import GlobalState, View

if TYPE_CHECKING:
    from constellation_settop.recommending.catalogue import Catalogue
    from constellation_settop.recommending.learning import LearningSettings
    from constellation_settop.recommending.ranking import RankingWeights
    from constellation_settop.storage.outbox import Outbox

log = logging.getLogger("constellation_settop")


def read_household(
    catalogue: Catalogue, outbox: Outbox, learning: LearningSettings, weights: RankingWeights
) -> Household:
    """Continue every profile from what the file has of it. Raises StorageError."""
    default = Brain(
        catalogue,
        outbox.read_learned(),
        outbox.read_watched(),
        outbox.read_history(),
        settings=learning,
        weights=weights,
    )
    household = Household(default, learning.max_patterns)
    for name in outbox.read_profiles():
        household.add(name, partial(_read_sibling, outbox, name))
    _observe_again(household, outbox)
    use_newest_global_state(household, outbox)
    return household


def _observe_again(household: Household, outbox: Outbox) -> None:
    """Learn from the views that were not saved when the device ended without warning."""
    unsaved = outbox.read_views()
    if unsaved:
        log.info("%d views are learned again: the device ended without saving them", len(unsaved))
    for each in unsaved:
        brain = household.find(each.profile)
        if isinstance(each.observed, View):
            brain.observe(each.observed)
        else:
            brain.feedback(*each.observed)
        household.bound_patterns()


def _read_sibling(outbox: Outbox, name: str, default: Brain) -> Brain:
    return default.make_sibling(
        outbox.read_learned(name), outbox.read_watched(name), outbox.read_history(name)
    )


def use_newest_global_state(household: Household, outbox: Outbox) -> None:
    """Recommend with the global state that the outbox has now."""
    household.use_global_state(partial(_read_global_state, outbox))


def _read_global_state(outbox: Outbox) -> GlobalState:
    """Return the global state; an empty one if it cannot be read, so that ranking goes on."""
    try:
        return outbox.global_state
    except StorageError as error:
        log.warning("recommendations do without other households: %s", error)
        return GlobalState()
