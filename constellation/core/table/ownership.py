"""Identity: which shard this is, and which devices the shard map leaves it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from constellation.placement import find_owners

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from constellation.core.table.shard_table import Table

_BLOCK = 65_536


@dataclass(frozen=True, slots=True)
class ShardIdentity:
    """Which shard this is, and which others there are."""

    shard_id: int = 0
    region: str = "default"
    shards: Mapping[int, str] = field(default_factory=dict)
    """The shard map: addresses by shard_id. Empty: this shard owns every device."""

    def mark_relocated(self, table: Table) -> None:
        """Note in the table which devices the shard map has given to other shards.

        They are neither shown nor counted from now on, and deleted once they were silent for long.
        """
        for start in range(0, table.device_allocator.high_water if self.shards else 0, _BLOCK):
            rows = table.devices[start : min(start + _BLOCK, table.device_allocator.high_water)]
            table.relocated[start : start + len(rows)] = self._is_relocated(rows)
        table.relocated_count = int(
            np.count_nonzero(table.relocated[: table.device_allocator.high_water])
        )

    def _is_relocated(self, rows: NDArray[np.void]) -> NDArray[np.bool_]:
        elsewhere = find_owners(rows["device_id"].tobytes(), self.shards) != self.shard_id
        relocated: NDArray[np.bool_] = elsewhere & (rows["incarnation"] > 0)
        return relocated
