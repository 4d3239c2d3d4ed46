"""AggregateService of a shard: what it sums up, and the global it is given."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import structlog

from constellation.core.store import StoredGlobal
from constellation.errors import InvalidInputError
from constellation.federated.published import Published, Round
from constellation.transport.codec.aggregates import from_update, to_aggregate_version
from constellation.transport.codec.globals import to_global
from constellation.v1 import aggregates_pb2 as pb
from constellation.v1 import aggregates_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from constellation.core.shard import ShardManager
    from constellation.federated.aggregate import AggregateVersion

log = structlog.get_logger(__name__)

MAX_GLOBAL_BYTES: Final = 16 << 20
MAX_CANDIDATES: Final = 4096


class AggregateServicer(aggregates_pb2_grpc.AggregateServiceServicer):
    """Serves the federation."""

    def __init__(self, shard: ShardManager) -> None:
        self._shard = shard

    async def PullAggregate(
        self, request: pb.PullAggregateRequest, context: Any
    ) -> AsyncIterator[pb.PullAggregateResponse]:
        limit, residual = to_candidate_limits(request)
        held = [to_aggregate_version(each) for each in request.held]
        update = await self._shard.aggregate(self._base(held), limit, residual)
        chunks = from_update(update)
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            yield chunk

    async def PublishGlobal(
        self, request_iterator: AsyncIterator[pb.PublishGlobalRequest], context: Any
    ) -> pb.PublishGlobalResponse:
        stored = await to_stored_global(request_iterator)
        applied = await self._shard.adopt(stored, to_published(stored))
        held = self._shard.globals.round
        return pb.PublishGlobalResponse(
            generation=held.generation, round_id=held.round_id, applied=applied
        )

    def _base(self, held: list[AggregateVersion]) -> int:
        """Return the version that the caller holds of this shard, in this epoch; 0 for none."""
        mine = (self._shard.identity.shard_id, self._shard.epoch)
        return max(
            (each.version for each in held if (each.shard_id, each.epoch) == mine), default=0
        )


def to_candidate_limits(request: pb.PullAggregateRequest) -> tuple[int, float]:
    """Return how many local clusters are asked for, and of patterns how far from any anchor."""
    if request.max_candidates > MAX_CANDIDATES:
        raise InvalidInputError(
            "max_candidates", f"must be at most {MAX_CANDIDATES}, got {request.max_candidates}"
        )
    if not 0 <= request.residual_cosine <= 1:
        raise InvalidInputError(
            "residual_cosine", f"must be from 0 to 1, got {request.residual_cosine:g}"
        )
    return request.max_candidates, request.residual_cosine


async def to_stored_global(frames: AsyncIterator[pb.PublishGlobalRequest]) -> StoredGlobal:
    """Put the chunks of a global together. Raises InvalidInputError unless all of it came."""
    header: pb.GlobalHeader | None = None
    payload = bytearray()
    async for frame in frames:
        kind = frame.WhichOneof("frame")
        if (kind == "header") != (header is None):
            raise InvalidInputError("frame", f"must be header first, then chunks; got {kind}")
        if kind == "header":
            header = _checked(frame.header)
        else:
            payload += frame.chunk
            if header is not None and len(payload) > header.size_bytes:
                raise InvalidInputError(
                    "chunk", f"must be {header.size_bytes} bytes in all, got {len(payload)}"
                )
    if header is None:
        raise InvalidInputError("frame", "must be header first; nothing came")
    if len(payload) != header.size_bytes or sha256(payload).digest() != header.sha256:
        raise InvalidInputError(
            "chunk",
            f"must add up to {header.size_bytes} bytes with the SHA-256 of the header, "
            f"got {len(payload)}",
        )
    return StoredGlobal(header.generation, header.round_id, bytes(payload))


def to_published(stored: StoredGlobal) -> Published:
    """Return a global as a shard serves it. Raises InvalidInputError for what cannot be one."""
    published = to_global(stored.payload)
    if published.round != Round(stored.generation, stored.round_id):
        raise InvalidInputError(
            "header",
            f"names round {stored.round_id} of generation {stored.generation}, the chunks are of "
            f"round {published.round.round_id} of {published.round.generation}",
        )
    return published


def _checked(header: pb.GlobalHeader) -> pb.GlobalHeader:
    if header.size_bytes > MAX_GLOBAL_BYTES:
        raise InvalidInputError(
            "header.size_bytes", f"must be at most {MAX_GLOBAL_BYTES}, got {header.size_bytes}"
        )
    for field in ("generation", "round_id"):
        if not 0 < getattr(header, field) < 2**63:
            raise InvalidInputError(
                f"header.{field}", f"must be from 1 to 2**63 - 1, got {getattr(header, field)}"
            )
    return header
