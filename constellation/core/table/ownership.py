"""ShardIdentity: which shard this is, and which devices the shard map assigns to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from constellation.core.rows import BLOCK_ROWS
from constellation.errors import ConfigError
from constellation.placement import find_owners

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from constellation.core.table.shard_table import Table


@dataclass(frozen=True, slots=True)
class ShardIdentity:
    """The number, region and neighbours of one shard."""

    shard_id: int = 0
    region: str = "default"
    shards: Mapping[int, str] = field(default_factory=dict)
    """The shard map: addresses by shard_id. When it is empty, this shard owns every device."""
    internal_shards: Mapping[int, str] = field(default_factory=dict)
    """The addresses of the same shards for operators; empty when they are those of devices."""

    def mark_relocated(self, table: Table) -> None:
        """Mark the devices in the table that the shard map gave to other shards.

        From then on they are neither shown nor counted. They expire like every silent device.
        """
        used = table.device_allocator.high_water
        for start in range(0, used if self.shards else 0, BLOCK_ROWS):
            rows = table.devices[start : min(start + BLOCK_ROWS, used)]
            table.relocated[start : start + len(rows)] = self._is_relocated(rows)
        table.relocated_count = int(np.count_nonzero(table.relocated[:used]))

    def _is_relocated(self, rows: NDArray[np.void]) -> NDArray[np.bool_]:
        elsewhere = find_owners(rows["device_id"].tobytes(), self.shards) != self.shard_id
        relocated: NDArray[np.bool_] = elsewhere & (rows["incarnation"] > 0)
        return relocated


def require_own_devices(table: Table, identity: ShardIdentity) -> None:
    """Raise ConfigError when the shard map gives away more than half of the devices."""
    gone, stored = table.relocated_count, table.totals.devices
    if 2 * gone > stored:
        raise ConfigError(
            f"SHARD_MAP gives {gone} of the {stored} devices that are stored to shards other than "
            f"{identity.shard_id}: check SHARD_MAP, SHARD_ID and the store, or set "
            "ACCEPT_SHARD_MAP=1 to stop showing and counting these devices"
        )
