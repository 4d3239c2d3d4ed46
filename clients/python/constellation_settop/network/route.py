"""Which address a device connects to, and the metadata that its calls carry."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import grpc

from constellation import placement
from constellation.loopback import is_loopback
from constellation.v1 import shard_pb2
from constellation.v1.shard_pb2_grpc import ShardServiceStub
from constellation_settop.errors import InvalidArgumentError
from constellation_settop.network.outcome import SessionOutcome
from constellation_settop.network.rules import MAX_SHARDS, is_address

if TYPE_CHECKING:
    from constellation.v1.shard_pb2_grpc import ShardServiceAsyncStub
    from constellation_settop.network.identity import TokenSource
    from constellation_settop.network.settings import SyncSettings

log = logging.getLogger("constellation_settop")

SHARD_MAP_TIMEOUT_SECONDS: Final = 5.0
ATTEMPTS_BEFORE_HOME: Final = 3
"""Failures in a row before a return to the first address, and redirects before they slow down."""


def is_exposed(address: str, settings: SyncSettings) -> bool:
    """Return whether a credential would go over a network in clear text."""
    has_secret = settings.credential is not None or settings.identity is not None
    return has_secret and settings.tls is None and not is_loopback(address)


class ShardRoute:
    """Decides where to connect next: to the first address, or where redirects lead."""

    def __init__(
        self, address: str, device_id: bytes, settings: SyncSettings, tokens: TokenSource
    ) -> None:
        if not isinstance(address, str) or not is_address(address):
            raise InvalidArgumentError(
                f'an address must be "host:port", such as "shard.example:50051", got {address!r}'
            )
        if is_exposed(address, settings):
            raise InvalidArgumentError(
                f"a credential is never sent in clear text, and {address} may be another machine: "
                "set tls"
            )
        self.address = address
        """The address to connect to next, "host:port"."""
        self._initial_address = address
        self._device_id = device_id
        self._settings = settings
        self._tokens = tokens
        self._shard_map: dict[int, str] | None = None
        self._failure_count = self._redirect_count = 0

    async def load_shard_map(self, channel: grpc.aio.Channel) -> None:
        """Fetch the shard map, once for each address. Calls work without it when that fails."""
        if self._shard_map is not None:
            return
        stub: ShardServiceAsyncStub = ShardServiceStub(channel)
        try:
            response = await stub.ListShards(
                shard_pb2.ListShardsRequest(),
                timeout=SHARD_MAP_TIMEOUT_SECONDS,
                metadata=tuple(self.call_metadata()),
            )
        except grpc.aio.AioRpcError as error:
            log.debug("the shard map could not be fetched: %s", error.code().name)
        else:
            if response is not None and len(response.shards) <= MAX_SHARDS:
                self._shard_map = {shard.shard_id: shard.address for shard in response.shards}

    def call_metadata(self) -> list[tuple[str, str]]:
        """Return the metadata of a call: owner of the device, credential and trace.

        The owner lets a proxy find the shard; it is left out without a shard map.
        """
        metadata = []
        if self._shard_map:
            owner = placement.find_owner(self._device_id, self._shard_map)
            metadata.append(("x-constellation-shard", str(owner)))
        if self._tokens.token is not None:
            metadata.append(("authorization", f"Bearer {self._tokens.token}"))
        if (traceparent := self._settings.traceparent()) is not None:
            metadata.append(("traceparent", traceparent))
        return metadata

    def record_welcome(self) -> None:
        """Note that a shard serves at this address, and forget failures."""
        self._failure_count = 0

    def record_progress(self) -> None:
        """Note that a session was of use, and forget redirects."""
        self._redirect_count = 0

    def record_unreachable(self, reason: str) -> SessionOutcome:
        """Count a failure; after several in a row, return to the first address."""
        outcome = SessionOutcome(f"{self.address}: {reason}")
        self._failure_count += 1
        if self._failure_count >= ATTEMPTS_BEFORE_HOME:
            self.address = self._initial_address
        return outcome

    def follow_redirect(self, outcome: SessionOutcome) -> SessionOutcome:
        """Go to the address of an outcome, or to the first address when it names none.

        After several redirects in a row without progress, the back-off decides about the delay, so
        that shards that disagree do not send the device back and forth. An address that is not
        "host:port" is not followed.
        """
        if outcome.address and not is_address(outcome.address):
            outcome = SessionOutcome(f"a redirect to {outcome.address[:64]!r}, not a host:port")
        if outcome.address and is_exposed(outcome.address, self._settings):
            outcome = SessionOutcome(
                f"a redirect to {outcome.address}, where the credential would go in clear text"
            )
        self.address = outcome.address or self._initial_address
        self._shard_map = None
        self._redirect_count += 1
        if self._redirect_count <= ATTEMPTS_BEFORE_HOME:
            return outcome
        return SessionOutcome(outcome.reason)
