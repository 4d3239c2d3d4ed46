"""Clients of shards and of relays: they pull aggregates and publish globals."""

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

from constellation.auth.global_signatures import sign_header
from constellation.auth.token_files import to_metadata
from constellation.call_details import clean_details
from constellation.errors import ConfigError, InvalidInputError
from constellation.loopback import to_channel_options
from constellation.transport.calls.tracing import make_outgoing_metadata
from constellation.transport.codec.aggregates import from_aggregate_version
from constellation.v1 import aggregates_pb2 as pb
from constellation.v1.aggregates_pb2_grpc import AggregateServiceStub
from constellation.wall_clock import read_clock
from federation.merge.hourly_counts import SECONDS_PER_HOUR
from federation.shards.assembly import Assembly

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from constellation.auth.key_file import KeyFile
    from constellation.federated.aggregate import AggregateVersion
    from constellation.federated.published import StoredGlobal
    from constellation.v1.aggregates_pb2_grpc import AggregateServiceAsyncStub
    from federation.merge.aggregates import ShardUpdate
    from federation.merge.terms import Terms
    from federation.round_report import UnavailableShard

log = structlog.get_logger(__name__)

MAX_ATTEMPTS: Final = 4
"""Attempts of one pull, including the first."""
CHUNK_BYTES: Final = 512 * 1024
"""Bytes of a global in one message."""
_BACKOFF_SECONDS: Final = 0.4
"""Upper limit of the first pause between attempts; doubled for each further attempt. A channel that
lost its shard looks for it again within about 2 seconds."""
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
_DECODE_ERRORS: Final = (
    ArithmeticError,
    AttributeError,
    BufferError,
    LookupError,
    MemoryError,
    TypeError,
    ValueError,
)
"""What decoding an answer may raise besides InvalidInputError, if a check is missing."""


@dataclass(frozen=True, slots=True, eq=False)
class PullResult:
    """The result of pulling from one address."""

    address: str
    updates: Sequence[tuple[ShardUpdate, int]] = ()
    """Each shard's update, and its age in seconds."""
    terms: Terms | None = None
    """The dictionaries that number the terms of `updates`; None if the pull failed."""
    problem: str = ""
    """Why the pull failed; empty if it succeeded."""
    is_refused: bool = False
    """The address answered, but the answer was invalid."""
    seconds: float = 0.0
    """How long the pull took."""
    size_bytes: int = 0
    """The size of the answer."""
    unavailable: Sequence[UnavailableShard] = ()
    """What is behind the address, a relay, and did not answer it."""


@dataclass(frozen=True, slots=True)
class PublishResult:
    """The result of publishing a global to one address."""

    problem: str = ""
    """Why the global is not durable there; empty if it is."""
    is_superseded: bool = False
    """The address has a later global, and will not accept this one however often it is offered."""


@dataclass(frozen=True, slots=True)
class PullScope:
    """What a pull asks for besides sums and hourly counts."""

    candidate_limit: int = 0
    """The largest number of candidates from each shard; 0 asks for none."""
    residual_cosine: float = 0.0
    """Candidates are made of patterns whose nearest anchor has a lower cosine than this."""
    include_likes: bool = False
    """Ask for likes and pairs."""


class ShardClient:
    """A client of one shard, or of one relay."""

    def __init__(
        self,
        address: str,
        stub: AggregateServiceAsyncStub,
        *,
        is_relay: bool = False,
        token_file: Path | None = None,
        signing_keys: KeyFile | None = None,
    ) -> None:
        self.address = address
        self.is_relay = is_relay
        """Whether the address may answer for several shards."""
        self._stub = stub
        self._token_file = token_file
        self._signing_keys = signing_keys

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        address: str,
        *,
        is_relay: bool = False,
        credentials: grpc.ChannelCredentials | None = None,
        token_file: Path | None = None,
        signing_keys: KeyFile | None = None,
    ) -> AsyncIterator[ShardClient]:
        """Open a channel to `address`, a host:port; the connection is made at the first call.

        It uses TLS with `credentials`; None: clear text. Each call presents the token that
        `token_file` has at that time. What is published is signed with `signing_keys`.
        """
        options = [*_CHANNEL_OPTIONS, *to_channel_options(address)]
        opened = (
            grpc.aio.insecure_channel(address, options=options)
            if credentials is None
            else grpc.aio.secure_channel(address, credentials, options=options)
        )
        async with opened as channel:
            stub: AggregateServiceAsyncStub = AggregateServiceStub(channel)
            yield cls(
                address,
                stub,
                is_relay=is_relay,
                token_file=token_file,
                signing_keys=signing_keys,
            )

    def _make_metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata of a call: the trace and the token."""
        return (*make_outgoing_metadata(), *to_metadata(self._token_file))

    async def pull(
        self,
        known_versions: Sequence[AggregateVersion],
        scope: PullScope,
        timeout_seconds: float,
    ) -> PullResult:
        """Pull what changed since `known_versions`; retry while the shard is unavailable.

        All attempts together take at most `timeout_seconds`. A shard that is unavailable or sends
        an invalid answer does not raise: the result says what the problem was.
        """
        started = time.monotonic()
        request = pb.PullAggregateRequest(
            known_versions=[from_aggregate_version(each) for each in known_versions],
            max_candidates=scope.candidate_limit,
            residual_cosine=scope.residual_cosine,
            include_likes=scope.include_likes,
        )
        problem = ""
        for attempt in range(MAX_ATTEMPTS):
            remaining = timeout_seconds - (time.monotonic() - started)
            try:
                return await self._pull_once(request, started, remaining)
            except InvalidInputError as error:
                return self._make_failure(started, str(error), is_refused=True)
            except ConfigError as error:  # the file of the token is gone, or no key signs any more
                return self._make_failure(started, str(error))
            except _DECODE_ERRORS as error:
                log.exception("aggregate_decode_failed", address=self.address)
                return self._make_failure(started, f"cannot be decoded: {error!r}", is_refused=True)
            except grpc.aio.AioRpcError as error:
                problem = _describe_error(error)
                if error.code() not in _TRANSIENT_CODES:
                    break
            pause = random.uniform(0, _BACKOFF_SECONDS * 2**attempt)  # noqa: S311 - not a secret
            if pause > remaining or attempt == MAX_ATTEMPTS - 1:
                break
            await asyncio.sleep(pause)
        return self._make_failure(started, problem)

    async def publish(self, stored: StoredGlobal, timeout_seconds: float) -> PublishResult:
        """Send a global to the shard, and return whether it is durable there."""
        try:
            header = _to_header(stored)
            if self._signing_keys is not None:
                sign_header(self._signing_keys, header)
            answer = await self._stub.PublishGlobal(
                _to_frames(header, stored.payload),
                timeout=timeout_seconds,
                metadata=self._make_metadata(),
            )
        except ConfigError as error:  # the file of the token is gone
            return PublishResult(str(error))
        except grpc.aio.AioRpcError as error:
            return PublishResult(_describe_error(error))
        if answer is None:  # grpc's result for bytes that are not a message of this type
            return PublishResult("its answer cannot be decoded")
        if (answer.generation, answer.round_id) > (stored.generation, stored.round_id):
            return PublishResult(_explain_later_round(answer, stored), is_superseded=True)
        return PublishResult()

    async def _pull_once(
        self, request: pb.PullAggregateRequest, started: float, remaining: float
    ) -> PullResult:
        """Pull once. Raises InvalidInputError or AioRpcError."""
        assembly = Assembly(
            int(read_clock()) // SECONDS_PER_HOUR, include_likes=request.include_likes
        )
        chunks = self._stub.PullAggregate(
            request, timeout=max(remaining, 0.001), metadata=self._make_metadata()
        )
        async for chunk in chunks:
            if chunk is None:  # grpc's result for bytes that are not a message of this type
                raise InvalidInputError("chunk", "cannot be decoded")
            await asyncio.to_thread(assembly.add, chunk)
        updates = await asyncio.to_thread(assembly.build_updates)
        return PullResult(
            self.address,
            updates,
            assembly.terms,
            seconds=time.monotonic() - started,
            size_bytes=assembly.size_bytes,
            unavailable=assembly.unavailable,
        )

    def _make_failure(
        self, started: float, problem: str, *, is_refused: bool = False
    ) -> PullResult:
        return PullResult(
            self.address, problem=problem, is_refused=is_refused, seconds=time.monotonic() - started
        )


def _describe_error(error: grpc.aio.AioRpcError) -> str:
    return f"{error.code().name}: {clean_details(error.details())}"


def _explain_later_round(answer: pb.PublishGlobalResponse, stored: StoredGlobal) -> str:
    """Return what a shard has in place of `stored`, and who should do what about it."""
    later = (
        f"it has round {answer.round_id} of generation {answer.generation}, which is later than "
        f"round {stored.round_id} of generation {stored.generation}: "
    )
    if answer.generation == stored.generation:
        return later + (
            "this journal was restored from a backup, or another federation runs with a copy of "
            f"it: stop the other one. From round {answer.round_id + 1} on, this one is accepted"
        )
    return later + (
        "a federation with a newer journal published it: stop this one, or start it with that "
        "journal. Start it with an empty journal only if no other federation runs and that journal "
        "is lost"
    )


def _to_header(stored: StoredGlobal) -> pb.GlobalHeader:
    return pb.GlobalHeader(
        generation=stored.generation,
        round_id=stored.round_id,
        size_bytes=len(stored.payload),
        sha256=sha256(stored.payload).digest(),
    )


def _to_frames(header: pb.GlobalHeader, payload: bytes) -> Iterator[pb.PublishGlobalRequest]:
    yield pb.PublishGlobalRequest(header=header)
    for start in range(0, len(payload), CHUNK_BYTES):
        yield pb.PublishGlobalRequest(chunk=payload[start : start + CHUNK_BYTES])
