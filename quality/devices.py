"""Devices of the evaluation: real SDK devices, many in each of several processes."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import cache, partial
from multiprocessing import get_context
from typing import TYPE_CHECKING, Final
from uuid import NAMESPACE_DNS, uuid5

import numpy as np

from constellation.blas import limit_blas_threads
from constellation.placement import find_owner
from constellation_settop import (
    Catalogue,
    Device,
    DeviceSettings,
    Durability,
    RankingWeights,
    SyncSettings,
    View,
)
from examples.demo.households import to_settop_catalogue
from quality.metrics import LIMIT
from quality.schedule import ANY_TIME
from testing.catalogue import load_catalogue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

PROCESSES: Final = 2
CONCURRENT_DEVICES: Final = 16
"""Devices of one process that are connected at the same time."""
CHUNK_DEVICES: Final = 48
"""Devices that a process is given at once."""
SESSION_SECONDS: Final = 60.0
UNREACHABLE: Final = "127.0.0.1:9"
"""Nothing listens there: a device with this address recommends offline."""
_NAMESPACE: Final = uuid5(NAMESPACE_DNS, "quality.constellation")


@dataclass(frozen=True, slots=True, eq=False)
class DeviceTask:
    """What one device does in one visit."""

    name: str
    """The device: its file and its id follow from the name, so that it continues its last visit."""
    views: Sequence[View] = ()
    """What it watches."""
    known_rows: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """Films left out of its recommendations, besides those that it has watched itself."""


@dataclass(frozen=True, slots=True)
class Visit:
    """How every device of a group is visited."""

    folder: Path
    shard_map: Mapping[int, str] | None
    """The addresses of the shards, by their ids. None: devices stay offline."""
    weights: RankingWeights = field(default_factory=RankingWeights)


class DevicePool:
    """Runs devices in processes of its own."""

    def __init__(self, executor: ProcessPoolExecutor) -> None:
        """Use an executor. Callers use `open_pool`."""
        self._executor = executor

    async def visit(self, visit: Visit, tasks: Sequence[DeviceTask]) -> list[NDArray[np.int64]]:
        """Let every device watch, sync unless offline, and recommend; return rows of films."""
        loop = asyncio.get_running_loop()
        chunks = [
            tasks[start : start + CHUNK_DEVICES] for start in range(0, len(tasks), CHUNK_DEVICES)
        ]
        results = await asyncio.gather(
            *(
                loop.run_in_executor(self._executor, partial(_visit_all, visit, chunk))
                for chunk in chunks
            )
        )
        return [ranked for chunk in results for ranked in chunk]


@contextmanager
def open_pool() -> Iterator[DevicePool]:
    """Start the processes; they end with the block."""
    # Not by fork, which gRPC does not survive.
    with ProcessPoolExecutor(
        PROCESSES, mp_context=get_context("spawn"), initializer=_prepare_process
    ) as executor:
        yield DevicePool(executor)


def _prepare_process() -> None:
    limit_blas_threads()
    logging.getLogger("constellation_settop").setLevel(logging.ERROR)


@cache
def _load_settop_catalogue() -> Catalogue:
    return to_settop_catalogue(load_catalogue())


def _visit_all(visit: Visit, tasks: Sequence[DeviceTask]) -> list[NDArray[np.int64]]:
    return asyncio.run(_visit_concurrently(visit, tasks))


async def _visit_concurrently(visit: Visit, tasks: Sequence[DeviceTask]) -> list[NDArray[np.int64]]:
    places = asyncio.Semaphore(CONCURRENT_DEVICES)
    catalogue = _load_settop_catalogue()

    async def run(task: DeviceTask) -> NDArray[np.int64]:
        async with places:
            return await _visit_one(visit, task, catalogue)

    async with asyncio.TaskGroup() as group:
        running = [group.create_task(run(task), name=task.name) for task in tasks]
    return [task.result() for task in running]


async def _visit_one(visit: Visit, task: DeviceTask, catalogue: Catalogue) -> NDArray[np.int64]:
    device_id = make_device_id(task.name)
    address = UNREACHABLE
    if visit.shard_map is not None:  # saves the redirect that another shard would answer with
        address = visit.shard_map[find_owner(device_id, visit.shard_map)]
    settings = DeviceSettings(
        device_id=device_id,
        durability=Durability.PROCESS_CRASH,
        weights=visit.weights,
        sync=SyncSettings(stay_connected=False, backoff_base_seconds=0.2, backoff_cap_seconds=2.0),
    )
    opening = Device.open(
        address,
        data_dir=visit.folder / task.name,
        catalogue=catalogue,
        settings=settings,
    )
    async with opening as device:
        for view in task.views:
            device.observe(view)
        if visit.shard_map is not None:
            device.save_changes()  # before the first session begins, so that one is enough
            await device.sync.wait_for_session(SESSION_SECONDS)
        choices = device.recommend(ANY_TIME, LIMIT + len(task.known_rows))
    rows = catalogue.find_rows([choice.content_id for choice in choices])
    return rows[~np.isin(rows, task.known_rows)][:LIMIT]


def make_device_id(name: str) -> bytes:
    """Return the id of a device, the same in every run."""
    return uuid5(_NAMESPACE, name).bytes


def select_weights(keep: Callable[[str], bool]) -> RankingWeights:
    """Return the default weights of the sources that `keep` accepts by name; the others are 0."""
    defaults = RankingWeights()
    return RankingWeights(
        **{
            each.name: getattr(defaults, each.name) if keep(each.name) else 0.0
            for each in fields(RankingWeights)
        }
    )
