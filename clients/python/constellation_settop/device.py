"""Device: one set-top device that learns, shares and recommends, for the host's program."""

from __future__ import annotations

from contextlib import asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from constellation_settop.catalogue_keeper import CatalogueKeeper
from constellation_settop.device_settings import DeviceSettings
from constellation_settop.errors import InvalidArgumentError, StorageError
from constellation_settop.network.catalogue_copy import read_copy
from constellation_settop.network.sync import Sync
from constellation_settop.profile import Profile
from constellation_settop.recommending.catalogue import Catalogue
from constellation_settop.saving import Saver
from constellation_settop.status import build_status
from constellation_settop.storage.outbox import Outbox
from constellation_settop.storage.problems import explain_error
from constellation_settop.stored_household import read_household, use_newest_global_state
from constellation_settop.threaded import ThreadedDevice
from constellation_settop.values import DEFAULT_PROFILE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence

    from constellation_settop.recommending.brain import Brain
    from constellation_settop.recommending.household import Household
    from constellation_settop.recommending.ranking import Recommendation
    from constellation_settop.recommending.rewards import Feedback
    from constellation_settop.status import DeviceStatus
    from constellation_settop.values import Context, View

FILE_NAME: Final = "device.sqlite"
"""The device's file inside `data_dir`."""
CATALOGUE_NAME: Final = "catalogue.bin"
"""The copy of the shard's catalogue inside `data_dir`."""


class Device:
    """One set-top device: Brain, Outbox and Sync together.

    `observe` and `recommend` never wait for the network. Use a device in one event loop; it is not
    safe for threads. Programs without asyncio `start` one instead.

    Example:
        async with Device.open("shard.example:50051", data_dir=path, catalogue=catalogue) as device:
            device.observe(View("content-42", watch_percentage=0.93))
            choices = device.recommend(limit=20)
    """

    def __init__(
        self,
        household: Household,
        outbox: Outbox,
        sync: Sync,
        settings: DeviceSettings,
        keeper: CatalogueKeeper | None = None,
    ) -> None:
        """Combine parts that are open already. Most callers use `open`."""
        self.household = household
        """The brains of the profiles."""
        self.outbox = outbox
        """The device's file."""
        self.sync = sync
        """The connection to the shard."""
        self.keeper = keeper
        """Keeps the catalogue current; None when the host's program brings the catalogue."""
        self._saver = Saver(household, outbox, settings.delta_interval_seconds, sync.notify)
        self._default = self.profile()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        address: str,
        *,
        data_dir: Path | str,
        catalogue: Catalogue | None = None,
        settings: DeviceSettings | None = None,
    ) -> AsyncIterator[Device]:
        """Continue from the file in `data_dir`, and sync in the background until the block ends.

        Args:
            address: "host:port" of any shard, or of a proxy in front of the shards.
            data_dir: the directory of the device's file; it is made when it is missing.
            catalogue: the content items that can be recommended. None means those of the shard: the
                device keeps a copy in `data_dir`, and fetches what changed in the background. Until
                the first copy has arrived, there is nothing to recommend: see `wait_for_catalogue`.
            settings: None means the defaults.

        Raises InvalidArgumentError when the file belongs to another device than
        `settings.device_id`, and StorageError when another process has the file open, the directory
        cannot be made or written, or the disk refuses. It does not wait for a connection.
        """
        resolved = DeviceSettings() if settings is None else settings
        _check_kinds(catalogue, resolved)
        _make_directory(Path(data_dir))
        with Outbox.open(
            Path(data_dir) / FILE_NAME,
            _find_device_id(resolved),
            durability=resolved.durability,
            keep_journal=resolved.keep_journal,
            quality_floor=resolved.quality_floor,
        ) as outbox:
            copy_path = Path(data_dir) / CATALOGUE_NAME
            is_copy = catalogue is None
            household = read_household(
                read_copy(copy_path) if catalogue is None else catalogue,
                outbox,
                resolved.learning,
                resolved.weights,
            )
            use_newest = partial(use_newest_global_state, household, outbox)
            keeper = CatalogueKeeper(copy_path, household, resolved.sync) if is_copy else None
            async with (
                Sync.open(
                    address,
                    outbox,
                    resolved.sync,
                    on_global=use_newest,
                    on_welcome=keeper.notice_welcome if keeper else _ignore,
                ) as sync,
                keeper.run(sync) if keeper else nullcontext(),
            ):
                device = cls(household, outbox, sync, resolved, keeper)
                async with device._saver.run():
                    yield device

    @classmethod
    def start(
        cls,
        address: str,
        *,
        data_dir: Path | str,
        catalogue: Catalogue | None = None,
        settings: DeviceSettings | None = None,
    ) -> ThreadedDevice:
        """Open a device in a thread of its own, for programs without asyncio.

        The arguments and the errors are those of `open`. It lasts until `close`, or until the end
        of its `with` block, and several threads may use it at once.
        """
        return ThreadedDevice(
            lambda: cls.open(address, data_dir=data_dir, catalogue=catalogue, settings=settings)
        )

    @property
    def brain(self) -> Brain:
        """Learns and recommends for the default profile."""
        return self.household.default

    @property
    def profiles(self) -> tuple[str, ...]:
        """The names of the profiles, that of the default profile, "", first."""
        return tuple(self.household.brains)

    def profile(self, name: str = DEFAULT_PROFILE) -> Profile:
        """Return a profile, which has a taste, a history and recommendations of its own.

        A new name makes a new profile, which is kept once it has learned something. Without a name,
        it is the default profile, which the device's own methods use. Raises InvalidArgumentError
        when there are 8 profiles already, or the name has more than 64 characters.
        """
        self.household.add(name, lambda default: default.make_sibling())
        return Profile(
            name,
            self.household,
            self.outbox,
            on_learned=self._saver.note,
            on_forgotten=self._begin_anew,
        )

    def remove_profile(self, name: str) -> None:
        """Forget a profile and everything in it, here and at the shard.

        Raises InvalidArgumentError when there is no such profile, or it is the default one, and
        StorageError when the disk refuses; then nothing is forgotten.
        """
        if name == DEFAULT_PROFILE:
            raise InvalidArgumentError(
                "the default profile cannot be removed: device.profile().forget_everything() "
                "empties it"
            )
        self.household.find(name)
        self.outbox.forget_profile(name)
        self.household.remove(name)
        self._begin_anew(name)

    def observe(self, view: View) -> float:
        """Learn from a view and return its reward, from 0 to 1. The view stays on the device.

        Raises InvalidArgumentError for a value out of range. A content item that the catalogue
        lacks is remembered as watched but teaches nothing.
        """
        return self._default.observe(view)

    def feedback(self, content_id: str, feedback: Feedback) -> None:
        """Learn what the household says about a content item. It stays on the device.

        What is disliked or hidden is not recommended again, and what was liked before and is
        disliked now is withdrawn at the shard.
        """
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
        """Return up to `limit` content items that were not watched yet, the best first.

        Works offline.

        Args:
            context: None means now, in the machine's time zone.
            limit: the most to return; at least 1.
            exclude: content ids to leave out this time.
            genres: return only content of at least one of these genres; None means any content.
            explain: False leaves the reasons empty.

        Raises InvalidArgumentError when `limit` is less than 1, or when `exclude` or `genres` is a
        single text.
        """
        return self._default.recommend(
            context, limit, exclude=exclude, genres=genres, explain=explain
        )

    def forget(self, content_id: str) -> None:
        """Forget a content item, here and at the shard, as if it had never been watched.

        The patterns are learned anew from the history without it, and a snapshot replaces what the
        shard has of the device. What was counted without the device's name, such as trends, stays
        counted. Raises StorageError when the disk refuses; then it is not forgotten yet.
        """
        self._default.forget(content_id)

    def forget_everything(self) -> None:
        """Forget all that every profile watched and learned, here and at the shard.

        Only the device's identity stays. The shard gets an empty snapshot, under a new incarnation.
        Raises StorageError when the disk refuses; then nothing is forgotten.
        """
        self.outbox.forget_everything()
        for brain in self.household.brains.values():
            brain.forget_everything()
        self._begin_anew()

    def _begin_anew(self, profile: str | None = None) -> None:
        """Rank and sync with the outbox as it is now, after more than an append changed it."""
        self._saver.drop(profile)
        use_newest_global_state(self.household, self.outbox)
        self.sync.restart_session()

    @property
    def sharing(self) -> bool:
        """Whether the device shares what it learns.

        Set it to False at any time, also offline. From then on nothing leaves the device but an
        empty snapshot, which withdraws what was shared; once it is acked, the device does not
        connect any more, so that it receives nothing either. Recommending goes on with what it has.
        True shares again what was learned in the meantime. Setting it raises StorageError when the
        disk refuses; then nothing has changed.
        """
        return self.outbox.is_sharing

    @sharing.setter
    def sharing(self, is_sharing: bool) -> None:
        self.outbox.set_sharing(is_sharing=is_sharing)
        self.sync.restart_session()

    async def wait_for_catalogue(self, deadline_seconds: float) -> None:
        """Wait until there is content to recommend, which takes time only for a new device.

        Raises UnreachableError when that takes longer than `deadline_seconds`.
        """
        if self.keeper is not None:
            await self.keeper.wait_for_content(deadline_seconds)

    def status(self) -> DeviceStatus:
        """Return what was learned, what waits, what was sent, and what was refused and why.

        Raises StorageError when the disk refuses.
        """
        return build_status(self.household, self.outbox, self.sync)

    def save_changes(self) -> Sequence[int]:
        """Write what was learned to the file now, and return the seqs of its deltas.

        Usually there is one delta, and none when nothing concerns the shard. Raises StorageError
        when the disk refuses; then nothing is lost, and the next call tries again.
        """
        return self._saver.save()

    @property
    def storage_problem(self) -> str | None:
        """Why what was learned stays in memory at present; None while the file takes writes."""
        return self.outbox.write_problem

    def sync_soon(self) -> None:
        """Save and send what was learned now instead of at the next interval; do not wait."""
        self._saver.try_save()
        self.sync.sync_soon()

    async def flush(self, deadline_seconds: float) -> None:
        """Save what was learned, and wait until the shard has acked every delta.

        Raises UnreachableError after `deadline_seconds`, CredentialError instead when the shard
        refuses the credential, and StorageError when the disk refuses.
        """
        self.save_changes()
        await self.sync.flush(deadline_seconds)


def _ignore() -> None:
    return None


def _check_kinds(catalogue: Catalogue | None, settings: DeviceSettings) -> None:
    if catalogue is not None and not isinstance(catalogue, Catalogue):
        raise InvalidArgumentError(
            f"catalogue must be a Catalogue, got {type(catalogue).__name__}: write "
            "Catalogue(content_ids, embeddings) or Catalogue.read(path)"
        )
    if not isinstance(settings, DeviceSettings):
        raise InvalidArgumentError(
            f"settings must be DeviceSettings, got {type(settings).__name__}: write "
            "DeviceSettings(delta_interval_seconds=30)"
        )


def _find_device_id(settings: DeviceSettings) -> bytes | None:
    """Return the device id that the settings give, if any."""
    identity = settings.sync.identity
    if settings.device_id is not None or identity is None:
        return settings.device_id
    return identity.device_id


def _make_directory(data_dir: Path) -> None:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make {data_dir}: {explain_error(error)}") from error
