"""Exchanges: a whole sync in one call, without a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from constellation.auth.principal import CALLER
from constellation.core.ingest.deltas import Verdict
from constellation.errors import TooManyInflightError
from constellation.transport.calls.budgets import leave_turn
from constellation.transport.codec.patterns import from_receipts, to_delta
from constellation.transport.codec.wire import frame_message, make_tag
from constellation.transport.sync.origin_limits import read_call_origin
from constellation.v1 import patterns_pb2 as patterns
from constellation.v1 import sync_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from constellation.core.ingest.deltas import Delta
    from constellation.transport.sync.greeting import Greeter, Greeting
    from constellation.transport.sync.updates import UpdateEncoder

_WELCOME: Final = make_tag(pb.ExchangeResponse.WELCOME_FIELD_NUMBER)
_ACK: Final = make_tag(pb.ExchangeResponse.ACK_FIELD_NUMBER)
_UPDATE: Final = make_tag(pb.ExchangeResponse.UPDATE_FIELD_NUMBER)


class Exchanges:
    """Answers the devices that do not stay connected, by the rules of a session."""

    def __init__(self, greeter: Greeter, encoder: UpdateEncoder) -> None:
        self._shard = greeter.shard
        self._limits = greeter.limits
        self._greeter = greeter
        self._encoder = encoder

    async def answer(self, request: pb.ExchangeRequest) -> bytes:
        """Apply the deltas of a request, and return an ExchangeResponse, encoded.

        Raises the error that refuses the device or its deltas.
        """
        origin = read_call_origin()
        self._greeter.guard.count_connect(origin)
        greeting = self._greeter.greet(request.hello, CALLER.get(), origin)
        parts = [frame_message(_WELCOME, greeting.welcome.SerializeToString())]
        if request.deltas:
            ack = await self._apply(greeting, request.deltas)
            parts.append(frame_message(_ACK, ack.SerializeToString()))
        if not request.skip_update:
            update = await self._encoder.make_update(
                greeting.device_id, greeting.held_state, greeting.capacity, greeting.encoding
            )
            parts.append(frame_message(_UPDATE, update.body))
        return b"".join(parts)

    async def _apply(
        self, greeting: Greeting, deltas: Sequence[patterns.Delta]
    ) -> patterns.DeltaAck:
        """Return the ack of deltas, once those that come next are durable."""
        limit = self._limits.max_inflight_deltas
        if len(deltas) > limit:
            raise TooManyInflightError(
                f"{len(deltas)} deltas in one call, more than the {limit} that may be unacked: "
                "send the rest in another call"
            )
        next_deltas = self._select_next(greeting, deltas)
        if next_deltas:
            async with leave_turn():
                return from_receipts(await self._shard.apply_all(next_deltas))
        welcome = greeting.welcome
        return patterns.DeltaAck(
            through_seq=welcome.expected_seq - 1,
            expected_seq=welcome.expected_seq,
            full_resync=welcome.full_resync,
        )

    def _select_next(self, greeting: Greeting, deltas: Sequence[patterns.Delta]) -> Sequence[Delta]:
        """Return the deltas that may apply, all of them checked.

        Leaves out what was applied before, and what comes after a gap.
        """
        next_seq = greeting.welcome.expected_seq
        needs_resync = greeting.welcome.full_resync
        selected: list[Delta] = []
        for delta in deltas:
            seq = delta.seq
            if 0 < seq < next_seq:
                self._shard.stats.deltas[Verdict.DUPLICATE] += 1
                continue
            if not delta.snapshot and (needs_resync or seq > next_seq):
                break
            checked = to_delta(
                greeting.device_id,
                greeting.incarnation,
                delta,
                self._limits.max_patterns_per_delta,
            )
            checked.origin = greeting.origin
            selected.append(checked)
            next_seq, needs_resync = seq + 1, False
        return selected
