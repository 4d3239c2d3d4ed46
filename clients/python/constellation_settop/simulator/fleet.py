"""A fleet of simulated devices: runs them through one day, in one process."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation_settop.errors import InvalidArgumentError
from constellation_settop.network.catalogue_copy import fetch_catalogue
from constellation_settop.network.settings import SyncSettings
from constellation_settop.recommending.brain import Brain
from constellation_settop.simulator.device import DayClock, SimulatedDevice, Surroundings
from constellation_settop.simulator.figures import Figures, Summary, summarize
from constellation_settop.simulator.plan import DayShape, plan_device
from constellation_settop.simulator.tastes import Tastes

if TYPE_CHECKING:
    from collections.abc import Callable

    from constellation_settop.network.identity import DeviceIdentity
    from constellation_settop.recommending.catalogue import Catalogue

RECOMMENDING_DEVICES: Final = 40
"""Devices that ask for recommendations before each view: enough to time them."""
TICK_SECONDS: Final = 1.0
_MAX_RAMP_SECONDS: Final = 30.0
_RAMP_SHARE: Final = 0.1


@dataclass(frozen=True, kw_only=True)
class FleetSettings:
    """How many devices there are, and how they behave."""

    devices: int
    seconds: float
    """How long the day lasts."""
    shape: DayShape = field(default_factory=DayShape)
    flush_seconds: float = 30.0
    """How long each device waits for its last acks at the end of the day."""
    seed: int = 1
    """The same seed gives the same plans and tastes."""
    sync: SyncSettings = field(default_factory=SyncSettings)
    """How every device connects; a vendor's devices get an identity each."""
    make_identity: Callable[[], DeviceIdentity] | None = None
    """Makes the identity of each device; None where devices need none."""

    def make_sync_settings(self, number: int) -> SyncSettings:
        """Return the settings of one device."""
        identity = self.make_identity() if self.make_identity else None
        return replace(
            self.sync, random=Random(self.seed * 1_000_003 + number), identity=identity  # noqa: S311  # jitter
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is."""

    share: float
    """From 0 to 1."""
    figures: Figures


async def load_catalogue(address: str, settings: FleetSettings) -> Catalogue:
    """Fetch the shard's catalogue, for all devices.

    Raises InvalidArgumentError when it is empty, and what `fetch_catalogue` raises.
    """
    with TemporaryDirectory(prefix="simulate-") as folder:
        path = Path(folder) / "catalogue.bin"
        catalogue = await fetch_catalogue(address, path, settings.make_sync_settings(0))
    if not len(catalogue):
        raise InvalidArgumentError(
            f"the catalogue of {address} is empty: give it films with `constellation content add`"
        )
    return catalogue


async def run_fleet(
    address: str,
    catalogue: Catalogue,
    settings: FleetSettings,
    *,
    on_progress: Callable[[Progress], None],
) -> Summary:
    """Run the devices through their day, and return what it came to.

    Args:
        address: "host:port" of any shard, or of a proxy in front of the shards.
        catalogue: the content items that they watch.
        settings: how many they are, and how they behave.
        on_progress: called every second.

    When it is cancelled, the devices end, and what they came to until then is returned.
    """
    loop = asyncio.get_running_loop()
    random, figures = np.random.default_rng(settings.seed), Figures()
    tastes = Tastes(catalogue, random)
    Brain(catalogue).recommend()  # prepares what all devices share of the catalogue
    clock = DayClock(loop.time(), settings.seconds)
    surroundings = Surroundings(address, catalogue, tastes, figures, clock, settings.flush_seconds)
    ramp = min(_RAMP_SHARE, _MAX_RAMP_SECONDS / settings.seconds)
    devices, tasks = [], []
    for number, child in enumerate(random.spawn(settings.devices)):
        sync_settings = replace(settings.make_sync_settings(number), on_ack=figures.record_ack)
        device = SimulatedDevice(
            surroundings,
            plan_device(child, settings.shape, ramp),
            sync_settings,
            child,
            recommends=number < RECOMMENDING_DEVICES,
        )
        identity = sync_settings.identity
        device_id = child.bytes(16) if identity is None else identity.device_id
        tasks.append(loop.create_task(device.live(device_id), name=f"device_{number}"))
        devices.append(device)
    watcher = _Watcher(figures, devices)
    try:
        await _wait_for_all(tasks, watcher, clock, on_progress)
    except asyncio.CancelledError:
        await _end(tasks)
    waiting = sum(device.waiting for device in devices)
    return summarize(figures, settings.devices, loop.time() - clock.began_at, waiting)


async def _wait_for_all(
    tasks: list[asyncio.Task[None]],
    watcher: _Watcher,
    clock: DayClock,
    on_progress: Callable[[Progress], None],
) -> None:
    """Wait for all devices. The first that fails ends the others, and its error is raised."""
    pending = set(tasks)
    try:
        while pending:
            done, pending = await asyncio.wait(
                pending, timeout=TICK_SECONDS, return_when=asyncio.FIRST_EXCEPTION
            )
            for task in done:
                task.result()
            watcher.look()
            passed = asyncio.get_running_loop().time() - clock.began_at
            on_progress(Progress(min(1.0, passed / clock.seconds), watcher.figures))
    finally:
        await _end(list(pending))


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


class _Watcher:
    """Sees which devices are connected, and why others are not."""

    def __init__(self, figures: Figures, devices: list[SimulatedDevice]) -> None:
        self.figures = figures
        self._devices = devices
        self._reasons: dict[int, str | None] = {}

    def look(self) -> None:
        """Count the devices that are connected, and each new reason why one is not."""
        connected = waiting = 0
        for number, device in enumerate(self._devices):
            if device.sync is None:
                continue
            connected += device.sync.is_connected
            waiting += len(device.sync.outbox.pending_deltas)
            reason = device.sync.disconnect_reason
            if reason is not None and self._reasons.get(number) != reason:
                self.figures.problems[reason] += 1
            self._reasons[number] = reason
        self.figures.connected, self.figures.waiting = connected, waiting
