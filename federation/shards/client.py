"""Clients to shards, and to federations that relay others: pull aggregates, publish globals."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import grpc
import structlog

from constellation.errors import InvalidInputError
from constellation.transport.calls.tracing import outgoing_metadata
from constellation.transport.codec.aggregates import from_version
from constellation.v1 import aggregates_pb2 as pb
from constellation.v1.aggregates_pb2_grpc import AggregateServiceStub
from federation.shards.assembly import Assembly

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from constellation.federated.aggregate import AggregateVersion
    from constellation.federated.published import StoredGlobal
    from constellation.v1.aggregates_pb2_grpc import AggregateServiceAsyncStub
    from federation.merge.cluster_sums import Sent
    from federation.merge.terms import Names

log = structlog.get_logger(__name__)

ATTEMPTS: Final = 4
CHUNK_BYTES: Final = 512 * 1024
_BACKOFF_SECONDS: Final = 0.4
"""Doubled each time: a channel that lost its shard looks for it again within about 2 s."""
_SECONDS_PER_HOUR: Final = 3600
_CHANNEL: Final = (
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 20_000),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
)
_TRANSIENT: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)


@dataclass(frozen=True, slots=True, eq=False)
class Pulled:
    """What came of asking one address."""

    address: str
    updates: Sequence[tuple[Sent, int]] = ()
    """Each shard's answer, and its age in seconds ..."""
    names: tuple[Names, Names] | None = None
    """... and the contents and genres that it names."""
    problem: str = ""
    """Why there is none."""
    refused: bool = False
    """It answered, and the answer cannot be."""
    seconds: float = 0.0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which local clusters are asked for."""

    limit: int = 0
    residual_cosine: float = 0.0


class ShardClient:
    """One shard, or one relay."""

    def __init__(
        self, address: str, stub: AggregateServiceAsyncStub, *, is_relay: bool = False
    ) -> None:
        self.address = address
        self.is_relay = is_relay
        """It may answer for several shards."""
        self._stub = stub

    @classmethod
    @asynccontextmanager
    async def open(cls, address: str, *, is_relay: bool = False) -> AsyncIterator[ShardClient]:
        async with grpc.aio.insecure_channel(address, options=_CHANNEL) as channel:
            yield cls(address, AggregateServiceStub(channel), is_relay=is_relay)

    async def pull(
        self,
        held: Sequence[AggregateVersion],
        wanted: Wanted,
        timeout_seconds: float,
    ) -> Pulled:
        """Ask for what changed; ask again while the shard is away and there is time.

        Never raises: a shard that is away, or sends nonsense, is part of a round.
        """
        started = time.monotonic()
        request = pb.PullAggregateRequest(
            held=[from_version(each) for each in held],
            max_candidates=wanted.limit,
            residual_cosine=wanted.residual_cosine,
        )
        problem = ""
        for attempt in range(ATTEMPTS):
            left = timeout_seconds - (time.monotonic() - started)
            try:
                assembly = Assembly(int(time.time()) // _SECONDS_PER_HOUR)
                await self._pull_once(request, assembly, left)
                updates = await asyncio.to_thread(assembly.updates)
            except InvalidInputError as error:
                return self._not_pulled(started, str(error), refused=True)
            except Exception as error:
                if not isinstance(error, grpc.aio.AioRpcError):
                    log.exception("aggregate_crashed", address=self.address)
                    return self._not_pulled(started, f"cannot be read: {error!r}", refused=True)
                problem = f"{error.code().name}: {error.details()}"
                if error.code() not in _TRANSIENT:
                    break
            else:
                seconds = time.monotonic() - started
                return Pulled(
                    self.address,
                    updates,
                    assembly.names,
                    seconds=seconds,
                    size_bytes=assembly.size_bytes,
                )
            pause = random.uniform(0, _BACKOFF_SECONDS * 2**attempt)  # noqa: S311 - not a secret
            if pause > left or attempt == ATTEMPTS - 1:
                break
            await asyncio.sleep(pause)
        return self._not_pulled(started, problem)

    async def publish(self, stored: StoredGlobal, timeout_seconds: float) -> str:
        """Give the shard a global; return "" once it holds it durably, else why it does not."""
        try:
            answer = await self._stub.PublishGlobal(
                _frames(stored), timeout=timeout_seconds, metadata=outgoing_metadata()
            )
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {error.details()}"
        if answer is None:
            return "its answer cannot be decoded"
        held, wanted = (answer.generation, answer.round_id), (stored.generation, stored.round_id)
        if held > wanted:
            return (
                f"it holds round {answer.round_id} of generation {answer.generation}, which is "
                "later: does another federation publish to it?"
            )
        return ""

    async def _pull_once(
        self, request: pb.PullAggregateRequest, assembly: Assembly, seconds: float
    ) -> None:
        chunks = self._stub.PullAggregate(
            request, timeout=max(seconds, 0.001), metadata=outgoing_metadata()
        )
        async for chunk in chunks:
            if chunk is None:  # what grpc gives for bytes that are no message of this type
                raise InvalidInputError("chunk", "cannot be decoded")
            await asyncio.to_thread(assembly.add, chunk)

    def _not_pulled(self, started: float, problem: str, *, refused: bool = False) -> Pulled:
        return Pulled(
            self.address, problem=problem, refused=refused, seconds=time.monotonic() - started
        )


def _frames(stored: StoredGlobal) -> Iterator[pb.PublishGlobalRequest]:
    payload = stored.payload
    yield pb.PublishGlobalRequest(
        header=pb.GlobalHeader(
            generation=stored.generation,
            round_id=stored.round_id,
            size_bytes=len(payload),
            sha256=sha256(payload).digest(),
        )
    )
    for start in range(0, len(payload), CHUNK_BYTES):
        yield pb.PublishGlobalRequest(chunk=payload[start : start + CHUNK_BYTES])
