"""Profile: one member of the household, with a taste and recommendations of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from constellation_settop.errors import StorageError
from constellation_settop.status import build_profile_status
from constellation_settop.storage.views import UnsavedView

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from constellation_settop.recommending.brain import Brain
    from constellation_settop.recommending.household import Household
    from constellation_settop.recommending.ranking import Recommendation
    from constellation_settop.recommending.rewards import Feedback
    from constellation_settop.status import ProfileStatus
    from constellation_settop.storage.outbox import Outbox
    from constellation_settop.values import Context, View


class Profile:
    """A profile of a device: `device.profile("kids")` returns it.

    It has a taste, a history and recommendations of its own. To the shard, all profiles are one
    device: their names stay on it, and related content is that of all of them. Every method raises
    InvalidArgumentError once the profile was removed.

    Example:
        kids = device.profile("kids")
        kids.observe(View("content-42", watch_percentage=0.93))
        choices = kids.recommend(limit=20)
    """

    def __init__(
        self,
        name: str,
        household: Household,
        outbox: Outbox,
        *,
        on_learned: Callable[[UnsavedView], None],
        on_forgotten: Callable[[str], None],
    ) -> None:
        """Use the parts of an open device. Callers use `Device.profile`."""
        self.name = name
        """The name; "" for the default profile."""
        self._household = household
        self._outbox = outbox
        self._on_learned = on_learned
        self._on_forgotten = on_forgotten

    @property
    def brain(self) -> Brain:
        """Learns and recommends."""
        return self._household.find(self.name)

    def observe(self, view: View) -> float:
        """Learn from a view and return its reward, from 0 to 1; see `Device.observe`."""
        reward = self.brain.observe(view)
        self._household.bound_patterns()
        self._on_learned(UnsavedView(self.name, view))
        return reward

    def feedback(self, content_id: str, feedback: Feedback) -> None:
        """Learn what the profile's people say about a content item; see `Device.feedback`."""
        self.brain.feedback(content_id, feedback)
        self._household.bound_patterns()
        self._on_learned(UnsavedView(self.name, (content_id, feedback)))

    def recommend(
        self,
        context: Context | None = None,
        limit: int = 20,
        *,
        exclude: Collection[str] = (),
        genres: Collection[str] | None = None,
        explain: bool = True,
    ) -> list[Recommendation]:
        """Return up to `limit` content items that the profile has not watched yet, the best first.

        The arguments and the errors are those of `Device.recommend`.
        """
        return self.brain.recommend(context, limit, exclude=exclude, genres=genres, explain=explain)

    def forget(self, content_id: str) -> None:
        """Forget a content item, here and at the shard, as if the profile had never watched it.

        The shard goes on counting it for the device while another profile likes it. See
        `Device.forget`.
        """
        self.brain.forget(content_id)
        self._household.bound_patterns()
        changes = self._household.take_changes_of(self.name)
        try:
            self._outbox.forget(changes, [content_id])
        except StorageError:
            self._household.restore_changes([changes])
            raise
        self._on_forgotten(self.name)

    def forget_everything(self) -> None:
        """Forget all that the profile watched and all that was learned from it, also at the shard.

        Raises StorageError when the disk refuses; then nothing is forgotten.
        """
        brain = self.brain
        self._outbox.forget_profile(self.name)
        brain.forget_everything()
        self._on_forgotten(self.name)

    def status(self) -> ProfileStatus:
        """Return what the profile learned."""
        return build_profile_status(self.brain, self._outbox.quality_threshold)
