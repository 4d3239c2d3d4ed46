"""One of the demo's shards: `constellation serve` on a store and a port that stay the same."""

from __future__ import annotations

import signal
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from examples.demo.process import SIDE_PORTS, ServerProcess, answer_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from examples.demo.stores import DemoStore

LOWERED: Final = {
    "GLOBAL_INTERVAL_SECONDS": "2",
    "GLOBAL_MIN_INTERVAL_SECONDS": "5",
    "DRAIN_SECONDS": "1",
    "K_ANONYMITY": "3",
}
"""What is shorter than the defaults, so that a week fits into a minute."""


@dataclass(frozen=True, slots=True)
class Place:
    """One shard of the map."""

    shard_id: int
    region: str
    """Devices are told it with every trend of the region, and say it in their reasons."""
    address: str


class ShardProcess:
    """One store and one port, served by one process at a time."""

    def __init__(self, place: Place, shard_map: str, folder: Path, store: DemoStore) -> None:
        self.place = place
        self.store = store
        self.kills = 0
        self._shard_map = shard_map
        self.process = ServerProcess(
            ("constellation", "serve"), "shard_started", folder / f"shard-{place.shard_id}.log"
        )

    @classmethod
    @asynccontextmanager
    async def open(
        cls, place: Place, shard_map: str, folder: Path, store: DemoStore
    ) -> AsyncIterator[ShardProcess]:
        """Start a shard; whatever runs when the block is left is ended."""
        shard = cls(place, shard_map, folder, store)
        try:
            await shard.start()
            yield shard
        finally:
            await shard.process.end_if_up()

    @property
    def region(self) -> str:
        return self.place.region

    @property
    def address(self) -> str:
        return self.place.address

    @property
    def up(self) -> bool:
        return self.process.up

    @property
    def pid(self) -> int:
        return self.process.pid

    async def start(self) -> None:
        """Return once the shard serves."""
        await self.process.start({**self._settings, **LOWERED, **SIDE_PORTS})

    async def kill(self) -> None:
        """End the shard as a power failure would: without a word."""
        self.kills += 1
        await self.process.end(signal.SIGKILL)

    async def stop(self) -> int:
        """Ask the shard to drain; return its exit status."""
        return await self.process.end(signal.SIGTERM)

    async def check(self) -> tuple[int, str]:
        """Run `constellation check` on the stopped shard; return its exit status and its answer."""
        return await answer_of(("constellation", "check"), self._settings)

    @property
    def _settings(self) -> Mapping[str, str]:
        return {
            **self.store.environment,
            "SHARD_ID": str(self.place.shard_id),
            "REGION": self.region,
            "SHARD_MAP": self._shard_map,
            "GRPC_ADDR": self.address,
        }
