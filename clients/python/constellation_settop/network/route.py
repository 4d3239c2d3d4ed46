"""Where a device's shard is: the address it was given, redirects, and the shard map's header."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import grpc

from constellation import placement
from constellation.v1 import shard_pb2
from constellation.v1.shard_pb2_grpc import ShardServiceStub
from constellation_settop.network.outcome import SessionOutcome

if TYPE_CHECKING:
    from constellation.v1.shard_pb2_grpc import ShardServiceAsyncStub
    from constellation_settop.network.settings import SyncSettings

log = logging.getLogger("constellation_settop")

SHARD_MAP_TIMEOUT_SECONDS: Final = 5.0
ATTEMPTS_BEFORE_HOME: Final = 3


class ShardRoute:
    """Where to connect next, and what to say so that a proxy finds the shard."""

    def __init__(self, address: str, device_id: bytes, settings: SyncSettings) -> None:
        self.address = address
        self._initial_address = address
        self._device_id = device_id
        self._settings = settings
        self._shard_map: dict[int, str] | None = None
        self._miss_count = self._redirect_count = 0

    async def load_shard_map(self, channel: grpc.aio.Channel) -> None:
        """Ask for the shard map, once for each address; it may do without."""
        if self._shard_map is not None:
            return
        stub: ShardServiceAsyncStub = ShardServiceStub(channel)
        try:
            response = await stub.ListShards(
                shard_pb2.ListShardsRequest(), timeout=SHARD_MAP_TIMEOUT_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            log.debug("no shard map: %s", error.code().name)
        else:
            self._shard_map = {shard.shard_id: shard.address for shard in response.shards}

    def call_metadata(self) -> list[tuple[str, str]]:
        """Return what every call carries."""
        metadata = []
        if self._shard_map:
            owner = placement.find_owner(self._device_id, self._shard_map)
            metadata.append(("x-constellation-shard", str(owner)))
        if self._settings.credential is not None:
            metadata.append(("authorization", f"Bearer {self._settings.credential}"))
        if (traceparent := self._settings.traceparent()) is not None:
            metadata.append(("traceparent", traceparent))
        return metadata

    def record_welcome(self) -> None:
        """Count a welcome: this is the right place."""
        self._miss_count = self._redirect_count = 0

    def record_unreachable(self, reason: str) -> SessionOutcome:
        """Go back to the address we were given when another one does not answer."""
        outcome = SessionOutcome(f"{self.address}: {reason}")
        self._miss_count += 1
        if self._miss_count >= ATTEMPTS_BEFORE_HOME:
            self.address = self._initial_address
        return outcome

    def follow_redirect(self, outcome: SessionOutcome) -> SessionOutcome:
        """Follow a redirect; after several in a row without a welcome, slowly."""
        self.address = outcome.address or self._initial_address
        self._shard_map = None
        self._redirect_count += 1
        return (
            outcome
            if self._redirect_count <= ATTEMPTS_BEFORE_HOME
            else SessionOutcome(outcome.reason)
        )
