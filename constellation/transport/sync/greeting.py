"""Greeting: what a Hello asks for, checked, and the Welcome that answers it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from constellation.auth.principal import CALLER_ADDRESS, require_own_device
from constellation.core.ingest.stats import HelloResult
from constellation.core.table.origins import DeviceOrigin
from constellation.errors import ConstellationError, InvalidInputError, NotOwnerError
from constellation.transport.codec.patterns import (
    MAX_SEQ,
    check_device_id,
    check_incarnation,
)
from constellation.transport.codec.times import to_duration
from constellation.transport.sync.declarations import negotiate_format, to_held_state
from constellation.v1 import patterns_pb2 as patterns
from constellation.v1 import sync_pb2 as pb

if TYPE_CHECKING:
    from constellation.auth.principal import Principal
    from constellation.core.device_update import HeldState
    from constellation.core.shard import ShardManager
    from constellation.encoding import Encoding
    from constellation.transport.sync.limits import SessionLimits
    from constellation.transport.sync.origin_limits import CallOrigin, OriginGuard


@dataclass(frozen=True, slots=True, eq=False)
class Greeting:
    """A device that was let in: what its Hello says, and the rules that it gets."""

    device_id: bytes
    incarnation: int
    encoding: Encoding
    """The encoding of its updates."""
    capacity: int
    """How many similar patterns it can keep."""
    held_state: HeldState
    origin: DeviceOrigin
    welcome: pb.Welcome


class Greeter:
    """Lets devices in, or refuses them, by the same rules with a stream and without."""

    def __init__(self, shard: ShardManager, limits: SessionLimits, guard: OriginGuard) -> None:
        self.shard = shard
        self.limits = limits
        self.guard = guard
        """Limits what comes from one lot or address."""
        self._rules = pb.Welcome(
            max_inflight_deltas=limits.max_inflight_deltas,
            max_patterns_per_delta=limits.max_patterns_per_delta,
            max_patterns=shard.rules.max_patterns_per_device,
            heartbeat_interval=to_duration(limits.heartbeat_seconds),
            sync_interval=to_duration(limits.sync_interval_seconds),
            sync_jitter=to_duration(limits.sync_jitter_seconds),
            quality_threshold=shard.rules.quality_threshold,
        )
        """What is the same in every Welcome."""

    def greet(self, hello: pb.Hello, caller: Principal, call_origin: CallOrigin) -> Greeting:
        """Return what a Hello says, and its Welcome. Raises the error that refuses the device."""
        shard, stats = self.shard, self.shard.stats
        device_id = check_device_id(hello.device_id)
        require_own_device(device_id, caller)
        incarnation = check_incarnation(hello.incarnation)
        encoding, capacity = negotiate_format(hello, shard.rules.similar_limit)
        held_state = to_held_state(hello)
        try:
            origin = self._admit(device_id, call_origin)
        except NotOwnerError:
            stats.hellos[HelloResult.REDIRECTED] += 1
            raise
        except ConstellationError:
            stats.hellos[HelloResult.REFUSED] += 1
            raise
        welcome = self._make_welcome(hello, encoding)
        shard.presence.note(device_id)
        stats.hellos[HelloResult.WELCOMED] += 1
        stats.resyncs += welcome.full_resync
        return Greeting(device_id, incarnation, encoding, capacity, held_state, origin, welcome)

    def _admit(self, device_id: bytes, call_origin: CallOrigin) -> DeviceOrigin:
        """Return the origin of a device that may sync now; raise the error that refuses it."""
        origins = self.shard.origins
        origin = DeviceOrigin(
            origins.hash_lot(call_origin.lot), origins.hash_network(CALLER_ADDRESS.get())
        )
        self.shard.admit(device_id, origin)
        if call_origin.is_known and self.shard.table.find_device(device_id) < 0:
            self.guard.count_new_device(call_origin)
        return origin

    def _make_welcome(self, hello: pb.Hello, encoding: Encoding) -> pb.Welcome:
        """Return the rules of a session, and the number of the device's next delta."""
        shard = self.shard
        last_acked_seq = hello.last_acked_seq
        if last_acked_seq >= MAX_SEQ:
            raise InvalidInputError(
                "last_acked_seq", f"must be below 2**63 - 1, got {last_acked_seq}"
            )
        expected = shard.compute_expectation(hello.device_id, hello.incarnation, last_acked_seq)
        welcome = pb.Welcome(
            epoch=shard.epoch,
            expected_seq=expected.expected_seq,
            full_resync=expected.full_resync,
            encoding=patterns.Encoding.ValueType(encoding),
            catalogue_digest=shard.catalogue.digest,
        )
        welcome.MergeFrom(self._rules)
        version, sent = shard.global_state.version, welcome.global_version
        sent.generation, sent.version = version.generation, version.version
        return welcome
