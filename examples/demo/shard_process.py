"""A shard of the demo: `constellation serve`, with the same store and port after a restart."""

from __future__ import annotations

import signal
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from examples.demo.process import SIDE_PORTS, ServerProcess, run_command

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from examples.demo.security import OpenFleet
    from examples.demo.stores import DemoStore

SETTINGS_OVERRIDES: Final = {
    "GLOBAL_INTERVAL_SECONDS": "2",
    "SHARED_PATTERNS_SECONDS": "2",
    "GLOBAL_MIN_INTERVAL_SECONDS": "5",
    "DRAIN_SECONDS": "1",
    "K_ANONYMITY": "3",
    "MIN_DEVICE_AGE_DAYS": "0",
    "PATTERNS_PER_WEEK": "65535",
    "SIGNALS_PER_WEEK": "65535",
    "LIKED_PER_WEEK": "65535",
}
"""Settings besides the defaults: a week fits into a minute, and years of views into a week."""


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """One shard of the shard map."""

    shard_id: int
    region: str
    """Sent to devices with the trends of the region. They name it in their reasons."""
    address: str


class ShardProcess:
    """One shard: a store and a port, served by one process at a time."""

    def __init__(
        self,
        entry: ShardEntry,
        shard_map: str,
        folder: Path,
        store: DemoStore,
        security: OpenFleet,
    ) -> None:
        self.entry = entry
        self.store = store
        self._security = security
        self.kill_count = 0
        """How often the process was killed."""
        self._shard_map = shard_map
        self.process = ServerProcess(
            ("constellation", "serve"), "shard_started", folder / f"shard-{entry.shard_id}.log"
        )

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        entry: ShardEntry,
        shard_map: str,
        folder: Path,
        store: DemoStore,
        security: OpenFleet,
    ) -> AsyncIterator[ShardProcess]:
        """Start a shard. It is killed if it still runs when the block ends."""
        shard = cls(entry, shard_map, folder, store, security)
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
        """Start a process, and wait until it serves."""
        await self.process.start({**self._settings, **SETTINGS_OVERRIDES, **SIDE_PORTS})

    async def kill(self) -> None:
        """Kill the process without warning, as a crash would."""
        self.kill_count += 1
        await self.process.end(signal.SIGKILL)

    async def stop(self) -> int:
        """Ask the shard to drain and end; return its exit code."""
        return await self.process.end(signal.SIGTERM)

    async def check(self) -> tuple[int, str]:
        """Run `constellation check` on the stopped shard; return its exit code and last line."""
        return await run_command(("constellation", "check"), self._settings)

    @property
    def _settings(self) -> Mapping[str, str]:
        return {
            **self.store.environment,
            **self._security.server_settings,
            "SHARD_ID": str(self.entry.shard_id),
            "REGION": self.region,
            "SHARD_MAP": self._shard_map,
            "GRPC_ADDR": self.address,
        }
