"""Household: the profiles of one device, and the bounds that hold for all of them together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from constellation_settop.errors import InvalidArgumentError
from constellation_settop.values import DEFAULT_PROFILE, LocalChanges

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from constellation_settop.recommending.brain import Brain
    from constellation_settop.recommending.catalogue import Catalogue
    from constellation_settop.values import GlobalState

MAX_PROFILES: Final = 8
"""Profiles of one device at most, the default one included."""
MAX_NAME_LENGTH: Final = 64
"""The most characters of a profile's name."""


class Household:
    """The brains of one device by profile. To the shard, they are one device.

    They share the catalogue, the global state, and the bounds of patterns and of signals in an
    hour. Not safe for threads.
    """

    def __init__(self, default: Brain, max_patterns: int) -> None:
        """Begin with the default profile alone.

        Args:
            default: the brain of the default profile.
            max_patterns: the most patterns of all profiles together.
        """
        self._brains = {DEFAULT_PROFILE: default}
        self._max_patterns = max_patterns

    @property
    def brains(self) -> Mapping[str, Brain]:
        """The brains by profile, that of the default profile first."""
        return self._brains

    @property
    def default(self) -> Brain:
        """The brain of the default profile."""
        return self._brains[DEFAULT_PROFILE]

    @property
    def catalogue(self) -> Catalogue:
        """The content items that can be recommended."""
        return self.default.catalogue

    def find(self, name: str) -> Brain:
        """Return the brain of a profile. Raises InvalidArgumentError when there is none."""
        if name not in self._brains:
            raise InvalidArgumentError(
                f"there is no profile {name!r}: device.profile({name!r}) makes one"
            )
        return self._brains[name]

    def add(self, name: str, make_brain: Callable[[Brain], Brain]) -> None:
        """Add a profile, unless there is one with that name.

        `make_brain` gets the brain of the default profile, and returns a sibling of it. Raises
        InvalidArgumentError when the name is too long, or there are too many profiles.
        """
        if name in self._brains:
            return
        if len(name) > MAX_NAME_LENGTH:
            raise InvalidArgumentError(
                f"the name of a profile may have {MAX_NAME_LENGTH} characters, got {len(name)}"
            )
        if len(self._brains) >= MAX_PROFILES:
            raise InvalidArgumentError(
                f"a device may have {MAX_PROFILES} profiles, and has {len(self._brains)}: "
                "remove one with device.remove_profile"
            )
        self._brains[name] = make_brain(self.default)

    def remove(self, name: str) -> None:
        """Remove a profile. What it has not saved is lost."""
        del self._brains[name]

    def bound_patterns(self) -> None:
        """Merge patterns until all profiles together have few enough.

        The profile that has the most merges its own, so that a profile with few patterns keeps them
        all, and profiles with many end up with the same number.
        """
        counts = {name: brain.pattern_count for name, brain in self._brains.items()}
        while sum(counts.values()) > self._max_patterns:
            largest = max(counts, key=lambda name: counts[name])
            self._brains[largest].merge_most_similar()
            counts[largest] -= 1

    def use_global_state(self, load_global_state: Callable[[], GlobalState]) -> None:
        """Recommend with another global state from now on; see `Brain.use_global_state`."""
        self.default.use_global_state(load_global_state)  # the profiles share it

    def use_catalogue(self, catalogue: Catalogue) -> None:
        """Recommend from another catalogue from now on. What was learned stays."""
        for brain in self._brains.values():
            brain.use_catalogue(catalogue)

    def take_changes(self) -> list[LocalChanges]:
        """Return what each profile learned since the last call, for `Outbox.append`."""
        return [changes for name in self._brains if (changes := self.take_changes_of(name))]

    def take_changes_of(self, name: str) -> LocalChanges:
        """Return what one profile learned since the last call.

        What one profile does not like any more is not withdrawn while another one likes it.
        """
        changes = self._brains[name].take_changes()
        withdrawn_ids = [each for each in changes.withdrawn_ids if not self._is_liked(each)]
        return replace(changes, withdrawn_ids=withdrawn_ids, profile=name)

    def _is_liked(self, content_id: str) -> bool:
        return any(brain.history.likes(content_id) for brain in self._brains.values())

    def restore_changes(self, changes: Sequence[LocalChanges]) -> None:
        """Take back changes that could not be saved; the next `take_changes` returns them again."""
        for each in changes:
            self._brains[each.profile].restore_changes(each)
