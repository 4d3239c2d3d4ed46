"""One of the demo's shards: `constellation serve` on a store and a port that stay the same."""

from __future__ import annotations

import signal
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from examples.demo.process import SIDE_PORTS, ServerProcess, run_command

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from examples.demo.stores import DemoStore

SETTINGS_OVERRIDES: Final = {
    "GLOBAL_INTERVAL_SECONDS": "2",
    "GLOBAL_MIN_INTERVAL_SECONDS": "5",
    "DRAIN_SECONDS": "1",
    "K_ANONYMITY": "3",
}
"""What is shorter than the defaults, so that a week fits into a minute."""


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """One shard of the map."""

    shard_id: int
    region: str
    """Devices are told it with every trend of the region, and say it in their reasons."""
    address: str


class ShardProcess:
    """One store and one port, served by one process at a time."""

    def __init__(self, entry: ShardEntry, shard_map: str, folder: Path, store: DemoStore) -> None:
        self.entry = entry
        self.store = store
        self.kill_count = 0
        self._shard_map = shard_map
        self.process = ServerProcess(
            ("constellation", "serve"), "shard_started", folder / f"shard-{entry.shard_id}.log"
        )

    @classmethod
    @asynccontextmanager
    async def open(
        cls, entry: ShardEntry, shard_map: str, folder: Path, store: DemoStore
    ) -> AsyncIterator[ShardProcess]:
        """Start a shard; whatever runs when the block is left is ended."""
        shard = cls(entry, shard_map, folder, store)
        try:
            await shard.start()
            yield shard
        finally:
            await shard.process.kill_if_running()

    @property
    def region(self) -> str:
        return self.entry.region

    @property
    def address(self) -> str:
        return self.entry.address

    @property
    def is_up(self) -> bool:
        return self.process.is_up

    @property
    def pid(self) -> int:
        return self.process.pid

    async def start(self) -> None:
        """Return once the shard serves."""
        await self.process.start({**self._settings, **SETTINGS_OVERRIDES, **SIDE_PORTS})

    async def kill(self) -> None:
        """End the shard as a power failure would: without a word."""
        self.kill_count += 1
        await self.process.end(signal.SIGKILL)

    async def stop(self) -> int:
        """Ask the shard to drain; return its exit status."""
        return await self.process.end(signal.SIGTERM)

    async def check(self) -> tuple[int, str]:
        """Run `constellation check` on the stopped shard; return its exit status and its answer."""
        return await run_command(("constellation", "check"), self._settings)

    @property
    def _settings(self) -> Mapping[str, str]:
        return {
            **self.store.environment,
            "SHARD_ID": str(self.entry.shard_id),
            "REGION": self.region,
            "SHARD_MAP": self._shard_map,
            "GRPC_ADDR": self.address,
        }
