"""ThreadedDevice: a device for programs without asyncio, in a thread of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

from constellation_settop.loop_thread import LoopThread
from constellation_settop.values import DEFAULT_PROFILE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from constellation_settop.profile import Profile
    from constellation_settop.recommending.ranking import Recommendation
    from constellation_settop.recommending.rewards import Feedback
    from constellation_settop.status import DeviceStatus, ProfileStatus
    from constellation_settop.values import Context, View


class OpenDevice(Protocol):
    """What a threaded device needs of a device; `Device` has the documentation."""

    sharing: bool

    @property
    def profiles(self) -> tuple[str, ...]: ...
    def profile(self, name: str = ...) -> Profile: ...
    def remove_profile(self, name: str) -> None: ...
    def forget_everything(self) -> None: ...
    def status(self) -> DeviceStatus: ...
    def save_changes(self) -> Sequence[int]: ...
    def sync_soon(self) -> None: ...
    async def flush(self, deadline_seconds: float) -> None: ...
    async def wait_for_catalogue(self, deadline_seconds: float) -> None: ...


class ThreadedProfile:
    """A profile of a threaded device; see `Profile`. Several threads may use it at once."""

    def __init__(self, thread: LoopThread[OpenDevice], profile: Profile) -> None:
        """Use a profile in its device's thread. Callers use `ThreadedDevice.profile`."""
        self._profile = profile
        self.name = profile.name
        """The name; "" for the default profile."""
        self._thread = thread

    def observe(self, view: View) -> float:
        """Learn from a view and return its reward, from 0 to 1; see `Device.observe`."""
        return self._thread.call(lambda _: self._profile.observe(view))

    def feedback(self, content_id: str, feedback: Feedback) -> None:
        """Learn what the household says about a content item; see `Device.feedback`."""
        self._thread.call(lambda _: self._profile.feedback(content_id, feedback))

    def recommend(
        self,
        context: Context | None = None,
        limit: int = 20,
        *,
        exclude: Collection[str] = (),
        genres: Collection[str] | None = None,
        explain: bool = True,
    ) -> list[Recommendation]:
        """Return up to `limit` content items, the best first; see `Device.recommend`."""
        return self._thread.call(
            lambda _: self._profile.recommend(
                context, limit, exclude=exclude, genres=genres, explain=explain
            )
        )

    def forget(self, content_id: str) -> None:
        """Forget a content item, here and at the shard; see `Device.forget`."""
        self._thread.call(lambda _: self._profile.forget(content_id))

    def forget_everything(self) -> None:
        """Forget all of the profile, here and at the shard; see `Profile.forget_everything`."""
        self._thread.call(lambda _: self._profile.forget_everything())

    def status(self) -> ProfileStatus:
        """Return what the profile learned."""
        return self._thread.call(lambda _: self._profile.status())


class ThreadedDevice:
    """A device for programs without asyncio: `Device.start` returns it.

    The device lives in a thread of its own. Each method waits until it is done there, and raises
    what the method of the same name of `Device` raises; after `close` it raises
    InvalidArgumentError. Several threads may use it at once.

    Example:
        with Device.start("shard.example:50051", data_dir=path) as device:
            device.wait_for_catalogue(30)
            choices = device.recommend(limit=20)
            device.observe(View(choices[0].content_id, watch_percentage=0.93))
    """

    def __init__(self, opening: Callable[[], AbstractAsyncContextManager[OpenDevice]]) -> None:
        """Open a device in a new thread. Callers use `Device.start`."""
        self._thread = LoopThread.start(opening, "settop_device")
        self._default = self.profile()

    def __enter__(self) -> Self:
        """Return the device; the end of the block closes it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the device."""
        self.close()

    def close(self) -> None:
        """Save what was learned, end the connection and the thread. Closing twice does no harm.

        Calls that wait, such as `flush`, raise UnreachableError.
        """
        self._thread.close()

    @property
    def profiles(self) -> tuple[str, ...]:
        """The names of the profiles, that of the default profile, "", first."""
        return self._thread.call(lambda device: device.profiles)

    def profile(self, name: str = DEFAULT_PROFILE) -> ThreadedProfile:
        """Return a profile, and make it when it is new; see `Device.profile`."""
        return ThreadedProfile(self._thread, self._thread.call(lambda device: device.profile(name)))

    def remove_profile(self, name: str) -> None:
        """Forget a profile and everything in it, here and at the shard."""
        self._thread.call(lambda device: device.remove_profile(name))

    def observe(self, view: View) -> float:
        """Learn from a view and return its reward, from 0 to 1."""
        return self._default.observe(view)

    def feedback(self, content_id: str, feedback: Feedback) -> None:
        """Learn what the household says about a content item."""
        self._default.feedback(content_id, feedback)

    def recommend(
        self,
        context: Context | None = None,
        limit: int = 20,
        *,
        exclude: Collection[str] = (),
        genres: Collection[str] | None = None,
        explain: bool = True,
    ) -> list[Recommendation]:
        """Return up to `limit` content items that were not watched yet, the best first."""
        return self._default.recommend(
            context, limit, exclude=exclude, genres=genres, explain=explain
        )

    def forget(self, content_id: str) -> None:
        """Forget a content item, here and at the shard, as if it had never been watched."""
        self._default.forget(content_id)

    def forget_everything(self) -> None:
        """Forget all that every profile watched and learned, here and at the shard."""
        self._thread.call(lambda device: device.forget_everything())

    @property
    def sharing(self) -> bool:
        """Whether the device shares what it learns; it may be set at any time."""
        return self._thread.call(lambda device: device.sharing)

    @sharing.setter
    def sharing(self, is_sharing: bool) -> None:
        def share(device: OpenDevice) -> None:
            device.sharing = is_sharing

        self._thread.call(share)

    def status(self) -> DeviceStatus:
        """Return what was learned, what waits, what was sent, and what was refused and why."""
        return self._thread.call(lambda device: device.status())

    def save_changes(self) -> Sequence[int]:
        """Write what was learned to the file now, and return the seqs of its deltas."""
        return self._thread.call(lambda device: device.save_changes())

    def sync_soon(self) -> None:
        """Save and send what was learned now instead of at the next interval; do not wait."""
        self._thread.call(lambda device: device.sync_soon())

    def flush(self, deadline_seconds: float) -> None:
        """Save what was learned, and wait until the shard has acked every delta."""
        self._thread.wait(lambda device: device.flush(deadline_seconds))

    def wait_for_catalogue(self, deadline_seconds: float) -> None:
        """Wait until there is content to recommend, which takes time only for a new device."""
        self._thread.wait(lambda device: device.wait_for_catalogue(deadline_seconds))
