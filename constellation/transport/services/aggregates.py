"""AggregateService of a shard: serves its aggregate, and receives the global state of a round."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog

from constellation.transport.codec.aggregates import (
    from_aggregate_update,
    to_aggregate_version,
    to_candidate_limits,
)
from constellation.transport.services.publishing import GlobalReceiver
from constellation.v1 import aggregates_pb2 as pb
from constellation.v1 import aggregates_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from constellation.auth.global_signatures import HeaderVerifier
    from constellation.core.shard import ShardManager
    from constellation.federated.aggregate import AggregateVersion
    from constellation.federated.published import PublishedGlobal

log = structlog.get_logger(__name__)


class AggregateServicer(aggregates_pb2_grpc.AggregateServiceServicer):
    """Serves AggregateService to the federation."""

    def __init__(
        self,
        shard: ShardManager,
        verifier: HeaderVerifier | None = None,
        on_adopted: Callable[[PublishedGlobal], object] = lambda _: None,
    ) -> None:
        """Serve one shard.

        Args:
            shard: the shard.
            verifier: checks who signed a global state; None accepts one from everybody.
            on_adopted: called with each global state that the shard has adopted.
        """
        self._shard = shard
        self._receiver = GlobalReceiver(lambda: shard.global_state.round, verifier)
        self._on_adopted = on_adopted

    async def PullAggregate(
        self, request: pb.PullAggregateRequest, context: Any
    ) -> AsyncIterator[pb.PullAggregateResponse]:
        limit, residual = to_candidate_limits(request)
        known = [to_aggregate_version(version) for version in request.known_versions]
        base = self._find_base_version(known)
        update = await self._shard.read_aggregate_since(
            base, limit, residual, include_likes=request.include_likes
        )
        chunks = from_aggregate_update(update)
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            yield chunk

    async def PublishGlobal(
        self, request_iterator: AsyncIterator[pb.PublishGlobalRequest], context: Any
    ) -> pb.PublishGlobalResponse:
        received = await self._receiver.receive(request_iterator)
        applied = received is not None and await self._shard.adopt_global(*received)
        if received is not None and applied:
            self._on_adopted(received[1])
        current = self._shard.global_state.round
        return pb.PublishGlobalResponse(
            generation=current.generation, round_id=current.round_id, applied=applied
        )

    def _find_base_version(self, known: list[AggregateVersion]) -> int:
        """Return the version that the caller knows of this shard in this epoch; 0 for none."""
        own = (self._shard.identity.shard_id, self._shard.epoch)
        return max(
            (version.version for version in known if (version.shard_id, version.epoch) == own),
            default=0,
        )
