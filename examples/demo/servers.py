"""The servers of the demo: two shards, each in a region of its own, and one federation."""

from __future__ import annotations

import socket
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from constellation.placement import format_map
from examples.demo.federation_process import FederationProcess
from examples.demo.operator_client import OperatorClient
from examples.demo.process import DemoError
from examples.demo.shard_process import ShardEntry, ShardProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from examples.demo.security import OpenFleet
    from examples.demo.stores import DemoStorage

REGIONS: Final = ("the north", "the south")


@dataclass(frozen=True, slots=True)
class DemoShard:
    """One shard's process, with a client of its API."""

    process: ShardProcess
    operator: OperatorClient

    @property
    def shard_id(self) -> int:
        return self.process.entry.shard_id

    @property
    def region(self) -> str:
        return self.process.region


@dataclass(frozen=True, slots=True)
class DemoServers:
    """All servers of one run."""

    shards: Sequence[DemoShard]
    """In ascending order of shard id, from 0."""
    federation: FederationProcess
    shard_map: Mapping[int, str]
    """The address of each shard, by shard id."""
    security: OpenFleet

    @property
    def killed_shard(self) -> DemoShard:
        """The shard that the scenario kills."""
        return self.shards[-1]

    def require_running(self) -> None:
        """Raise DemoError when a server has crashed."""
        for each in (*(shard.process.process for shard in self.shards), self.federation.process):
            if each.has_crashed:
                raise DemoError(f"a server has crashed; see {each.log_file}")

    @property
    def stream_count(self) -> int:
        """Streams that are open, when the shards were last polled."""
        return sum(each.operator.stats.streams for each in self.shards if each.process.is_up)

    @property
    def pattern_count(self) -> int:
        """Patterns that the shards have, when they were last polled."""
        return sum(each.operator.stats.patterns for each in self.shards)


@asynccontextmanager
async def start_servers(storage: DemoStorage, security: OpenFleet) -> AsyncIterator[DemoServers]:
    """Start every server. Those that still run when the block ends are killed."""
    shard_map = {
        shard_id: f"127.0.0.1:{port}"
        for shard_id, port in enumerate(_find_free_ports(len(REGIONS)))
    }
    async with AsyncExitStack() as stack:
        shards = []
        for shard_id, address in shard_map.items():
            entry = ShardEntry(shard_id, REGIONS[shard_id], address)
            opening = ShardProcess.open(
                entry,
                format_map(shard_map),
                storage.folder,
                storage.make_shard_store(shard_id),
                security,
            )
            process = await stack.enter_async_context(opening)
            operator = await stack.enter_async_context(OperatorClient.open(address, security))
            shards.append(DemoShard(process, operator))
        federation = await stack.enter_async_context(
            FederationProcess.open(
                storage.folder, storage.journal_settings, list(shard_map.values()), security
            )
        )
        yield DemoServers(shards, federation, shard_map, security)


def _find_free_ports(count: int) -> list[int]:
    """Return free ports. The shards need each other's ports before they start."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
