"""Where a device's shard is: the address it was given, redirects, and the shard map's header."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import grpc

from constellation import placement
from constellation.v1 import shard_pb2
from constellation.v1.shard_pb2_grpc import ShardServiceStub
from constellation_settop.network.outcome import Parting

if TYPE_CHECKING:
    from constellation.v1.shard_pb2_grpc import ShardServiceAsyncStub
    from constellation_settop.network.settings import SyncSettings

log = logging.getLogger("constellation_settop")

MAP_SECONDS: Final = 5.0
MISSES_BEFORE_HOME: Final = 3


class Route:
    """Where to connect next, and what to say so that a proxy finds the shard."""

    def __init__(self, address: str, device_id: bytes, settings: SyncSettings) -> None:
        self.address = address
        self._home = address
        self._device_id = device_id
        self._settings = settings
        self._shards: dict[int, str] | None = None
        self._misses = self._redirects = 0

    async def learn(self, channel: grpc.aio.Channel) -> None:
        """Ask for the shard map, once for each address; it may do without."""
        if self._shards is not None:
            return
        stub: ShardServiceAsyncStub = ShardServiceStub(channel)
        try:
            answer = await stub.ListShards(shard_pb2.ListShardsRequest(), timeout=MAP_SECONDS)
        except grpc.aio.AioRpcError as error:
            log.debug("no shard map: %s", error.code().name)
        else:
            self._shards = {shard.shard_id: shard.address for shard in answer.shards}

    def metadata(self) -> list[tuple[str, str]]:
        """Return what every call carries."""
        metadata = []
        if self._shards:
            owner = placement.owner(self._device_id, self._shards)
            metadata.append(("x-constellation-shard", str(owner)))
        if self._settings.credential is not None:
            metadata.append(("authorization", f"Bearer {self._settings.credential}"))
        if (traceparent := self._settings.traceparent()) is not None:
            metadata.append(("traceparent", traceparent))
        return metadata

    def arrived(self) -> None:
        """Count a welcome: this is the right place."""
        self._misses = self._redirects = 0

    def missed(self, why: str) -> Parting:
        """Go back to the address we were given when another one does not answer."""
        parting = Parting(f"{self.address}: {why}")
        self._misses += 1
        if self._misses >= MISSES_BEFORE_HOME:
            self.address = self._home
        return parting

    def moved(self, parting: Parting) -> Parting:
        """Follow a redirect; after several in a row without a welcome, slowly."""
        self.address = parting.address or self._home
        self._shards = None
        self._redirects += 1
        return parting if self._redirects <= MISSES_BEFORE_HOME else Parting(parting.why)
