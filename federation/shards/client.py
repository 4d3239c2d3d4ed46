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
from constellation.loopback import to_channel_options
from constellation.transport.calls.tracing import outgoing_metadata
from constellation.transport.codec.aggregates import from_aggregate_version
from constellation.v1 import aggregates_pb2 as pb
from constellation.v1.aggregates_pb2_grpc import AggregateServiceStub
from federation.shards.assembly import Assembly

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from constellation.federated.aggregate import AggregateVersion
    from constellation.federated.published import StoredGlobal
    from constellation.v1.aggregates_pb2_grpc import AggregateServiceAsyncStub
    from federation.merge.cluster_sums import ShardUpdate
    from federation.merge.terms import TermDictionary

log = structlog.get_logger(__name__)

MAX_ATTEMPTS: Final = 4
CHUNK_BYTES: Final = 512 * 1024
_BACKOFF_SECONDS: Final = 0.4
"""Doubled each time: a channel that lost its shard looks for it again within about 2 s."""
_SECONDS_PER_HOUR: Final = 3600
_CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 20_000),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
)
_TRANSIENT_CODES: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)


@dataclass(frozen=True, slots=True, eq=False)
class PullResult:
    """What came of asking one address."""

    address: str
    updates: Sequence[tuple[ShardUpdate, int]] = ()
    """Each shard's answer, and its age in seconds ..."""
    terms: tuple[TermDictionary, TermDictionary] | None = None
    """... and the contents and genres that it names."""
    problem: str = ""
    """Why there is none."""
    is_refused: bool = False
    """It answered, and the answer cannot be."""
    seconds: float = 0.0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class CandidateRequest:
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
        async with grpc.aio.insecure_channel(
            address, options=[*_CHANNEL_OPTIONS, *to_channel_options(address)]
        ) as channel:
            yield cls(address, AggregateServiceStub(channel), is_relay=is_relay)

    async def pull(
        self,
        held: Sequence[AggregateVersion],
        candidate_request: CandidateRequest,
        timeout_seconds: float,
    ) -> PullResult:
        """Ask for what changed; ask again while the shard is away and there is time.

        Never raises: a shard that is away, or sends nonsense, is part of a round.
        """
        started = time.monotonic()
        request = pb.PullAggregateRequest(
            known_versions=[from_aggregate_version(each) for each in held],
            max_candidates=candidate_request.limit,
            residual_cosine=candidate_request.residual_cosine,
        )
        problem = ""
        for attempt in range(MAX_ATTEMPTS):
            remaining = timeout_seconds - (time.monotonic() - started)
            try:
                assembly = Assembly(int(time.time()) // _SECONDS_PER_HOUR)
                await self._pull_once(request, assembly, remaining)
                updates = await asyncio.to_thread(assembly.build_updates)
            except InvalidInputError as error:
                return self._make_failure(started, str(error), is_refused=True)
            except Exception as error:
                if not isinstance(error, grpc.aio.AioRpcError):
                    log.exception("aggregate_decode_failed", address=self.address)
                    return self._make_failure(
                        started, f"cannot be read: {error!r}", is_refused=True
                    )
                problem = f"{error.code().name}: {error.details()}"
                if error.code() not in _TRANSIENT_CODES:
                    break
            else:
                seconds = time.monotonic() - started
                return PullResult(
                    self.address,
                    updates,
                    assembly.terms,
                    seconds=seconds,
                    size_bytes=assembly.size_bytes,
                )
            pause = random.uniform(0, _BACKOFF_SECONDS * 2**attempt)  # noqa: S311 - not a secret
            if pause > remaining or attempt == MAX_ATTEMPTS - 1:
                break
            await asyncio.sleep(pause)
        return self._make_failure(started, problem)

    async def publish(self, stored: StoredGlobal, timeout_seconds: float) -> str:
        """Give the shard a global; return "" once it holds it durably, else why it does not."""
        try:
            answer = await self._stub.PublishGlobal(
                _to_frames(stored), timeout=timeout_seconds, metadata=outgoing_metadata()
            )
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {error.details()}"
        if answer is None:
            return "its answer cannot be decoded"
        held, offered = (answer.generation, answer.round_id), (stored.generation, stored.round_id)
        if held > offered:
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

    def _make_failure(
        self, started: float, problem: str, *, is_refused: bool = False
    ) -> PullResult:
        return PullResult(
            self.address, problem=problem, is_refused=is_refused, seconds=time.monotonic() - started
        )


def _to_frames(stored: StoredGlobal) -> Iterator[pb.PublishGlobalRequest]:
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
