"""Admission: which devices a shard lets in, and why it refuses the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from constellation.core.ingest.group import DeviceRoom
from constellation.core.ingest.stats import ShedReason
from constellation.core.pressure import PressureLevel
from constellation.core.table.origins import UNKNOWN_ORIGIN, DeviceOrigin
from constellation.errors import NotOwnerError, NotReadyError, ShardFullError
from constellation.placement import find_owner

if TYPE_CHECKING:
    from constellation.core.ingest.stats import Stats
    from constellation.core.pressure import Pressure
    from constellation.core.rules import Rules
    from constellation.core.table.ownership import ShardIdentity
    from constellation.core.table.shard_table import Table


class Admission:
    """Decides whether a device may sync with a shard now."""

    def __init__(self, identity: ShardIdentity, rules: Rules, table: Table, stats: Stats) -> None:
        self.is_draining = False
        self._identity = identity
        self._rules = rules
        self._table = table
        self._stats = stats

    def admit(
        self, device_id: bytes, pressure: Pressure, origin: DeviceOrigin = UNKNOWN_ORIGIN
    ) -> None:
        """Return when a device may sync with this shard.

        Raises NotReadyError while the shard drains, NotOwnerError for the device of another shard,
        and ShardFullError for a new device when there is no place left for one like it, and while
        memory or disk are nearly full.
        """
        if self.is_draining:
            self._stats.shed[ShedReason.DRAINING] += 1
            raise NotReadyError("this shard is draining: connect again, on a new channel")
        self.require_owned(device_id)
        if pressure.level >= PressureLevel.NO_SESSIONS or (
            pressure.level >= PressureLevel.NO_NEW_DEVICES and self._is_new(device_id)
        ):
            self._stats.shed[ShedReason.PRESSURE] += 1
            raise ShardFullError(f"{pressure.cause}: this shard takes no more devices now")
        room = DeviceRoom.of(self._table, self._rules)
        is_attested = origin.lot > 0
        if not room.has_place(is_attested=is_attested) and self._is_new(device_id):
            self._stats.shed[ShedReason.DEVICES] += 1
            kept = "" if is_attested else f", of which {room.reserved} are for attested devices"
            raise ShardFullError(
                f"shard {self._identity.shard_id} has {self._table.totals.devices} devices, and "
                f"MAX_DEVICES is {self._rules.max_devices}{kept if room.reserved else ''}"
            )

    def require_owned(self, device_id: bytes) -> None:
        """Raise NotOwnerError for a device of another shard."""
        shards = self._identity.shards
        if shards and (shard_id := find_owner(device_id, shards)) != self._identity.shard_id:
            raise NotOwnerError(shard_id, shards[shard_id])

    def _is_new(self, device_id: bytes) -> bool:
        return self._table.find_device(device_id) < 0
