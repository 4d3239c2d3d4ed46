"""DeviceFile: the device's open file, what memory keeps of it, and transactions of both."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from constellation_settop.storage.database import transaction
from constellation_settop.storage.identity import read_device_state, write_device_state
from constellation_settop.storage.problems import WriteProblem, explain_read_errors
from constellation_settop.storage.queue import DeltaQueue
from constellation_settop.storage.rows import read_global

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from constellation_settop.storage.database import Durability
    from constellation_settop.storage.identity import DeviceState
    from constellation_settop.storage.queue import PendingDelta
    from constellation_settop.values import GlobalState


@dataclass(slots=True)
class FileState:
    """What memory keeps of a file. A transaction changes it, and it counts once that commits."""

    device: DeviceState
    """Identity, numbering and rules; the transaction writes what differs."""
    pending: Sequence[PendingDelta]
    """The deltas that are not acked yet, in ascending order of seq."""
    global_state: GlobalState | None = None
    """What other households' devices learned; None until it is read from the file."""


class DeviceFile:
    """The file of one device: one connection, and the part of its content that memory keeps."""

    def __init__(
        self, connection: sqlite3.Connection, durability: Durability, quality_floor: float
    ) -> None:
        """Read an open file that has an identity. Raises StorageError when the disk refuses."""
        self.connection = connection
        self.write_problem = WriteProblem()
        self._durability = durability
        self._quality_floor = quality_floor
        with explain_read_errors():
            device = self.raise_threshold(read_device_state(connection))
        self.queue = DeltaQueue(connection, device.next_seq)
        self._global: GlobalState | None = None
        self._device = device

    @property
    def device(self) -> DeviceState:
        """The device's identity, numbering and rules, as they are in the file."""
        return self._device

    @property
    def global_state(self) -> GlobalState:
        """What other households' devices learned. It is read from the file at first use."""
        if self._global is None:
            with explain_read_errors():
                self._global = read_global(self.connection, self._device.version)
        return self._global

    def release_global_state(self) -> None:
        """Give up the copy of the global state in memory: the next use reads the file."""
        self._global = None

    def raise_threshold(self, device: DeviceState) -> DeviceState:
        """Return a state whose quality threshold is at least the floor of this device."""
        threshold = max(self._quality_floor, device.quality_threshold)
        return replace(device, quality_threshold=threshold)

    @contextmanager
    def transaction(self, durability: Durability | None = None) -> Iterator[FileState]:
        """Write all that the block writes, and keep the state that it leaves, or change nothing.

        The block changes the state that is yielded. Raises StorageError when the disk refuses.
        """
        after = FileState(self._device, self.queue.pending, self._global)
        with (
            self.write_problem.watch(),
            transaction(self.connection, durability or self._durability),
        ):
            yield after
            write_device_state(self.connection, self._device, after.device)
        self._device, self.queue.pending = after.device, after.pending
        self._global = after.global_state
