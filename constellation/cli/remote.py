"""Remote: a process that commands ask, over gRPC."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from constellation.cli.errors import CommandError
from constellation.cli.explain import answered, explain, unknown_method
from constellation.cli.flags import addresses_of, reach_of
from constellation.config import Address, load
from constellation.v1 import shard_pb2
from constellation.v1.federation_pb2_grpc import FederationServiceStub
from constellation.v1.health_pb2_grpc import HealthServiceStub
from constellation.v1.process_pb2_grpc import ProcessServiceStub
from constellation.v1.shard_pb2_grpc import ShardServiceStub

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import AsyncIterator, Sequence

    from constellation.cli.flags import Reach
    from constellation.v1.federation_pb2_grpc import FederationServiceAsyncStub
    from constellation.v1.health_pb2_grpc import HealthServiceAsyncStub
    from constellation.v1.process_pb2_grpc import ProcessServiceAsyncStub
    from constellation.v1.shard_pb2_grpc import ShardServiceAsyncStub

Request = TypeVar("Request")
Response = TypeVar("Response")


class Remote:
    """What answers at one address."""

    def __init__(self, address: str, channel: grpc.aio.Channel, timeout_seconds: float) -> None:
        self.address = address
        self.shard: ShardServiceAsyncStub = ShardServiceStub(channel)
        self.federation: FederationServiceAsyncStub = FederationServiceStub(channel)
        self.health: HealthServiceAsyncStub = HealthServiceStub(channel)
        self.process: ProcessServiceAsyncStub = ProcessServiceStub(channel)
        self._channel = channel
        self._timeout_seconds = timeout_seconds

    @classmethod
    @asynccontextmanager
    async def open(cls, address: str, reach: Reach) -> AsyncIterator[Remote]:
        async with reach.channel(address) as channel:
            yield cls(address, channel, reach.timeout_seconds)

    async def ask(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        timeout_seconds: float | None = None,
    ) -> Response:
        """Return the answer. Raises CommandError, which says in words why there is none."""
        try:
            return await method(request, timeout=timeout_seconds or self._timeout_seconds)
        except grpc.aio.AioRpcError as error:
            asked = type(request).__name__.removesuffix("Request")
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                services = [name for name in ("Shard", "Federation") if await self._serves(name)]
                raise CommandError(unknown_method(asked, self.address, services)) from None
            raise CommandError(
                explain(error, asked, self.address), is_connection=not answered(error)
            ) from error

    async def find(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        or_not_ready: bool = False,
    ) -> Response | None:
        """Return the answer, None when there is no such thing, or not yet."""
        try:
            return await self.ask(method, request)
        except CommandError as error:
            cause = error.__cause__
            if not isinstance(cause, grpc.aio.AioRpcError) or error.is_connection:
                raise
            missing = cause.code() is grpc.StatusCode.NOT_FOUND
            if missing or (or_not_ready and cause.code() is grpc.StatusCode.UNAVAILABLE):
                return None
            raise

    async def _serves(self, name: str) -> bool:
        checking: Any = health_pb2_grpc.HealthStub(self._channel)
        request = health_pb2.HealthCheckRequest(service=f"constellation.v1.{name}Service")
        try:
            await checking.Check(request, timeout=self._timeout_seconds)
        except grpc.aio.AioRpcError:  # NOT_FOUND, or no health service either: it does not
            return False
        return True


@asynccontextmanager
async def one(options: Namespace) -> AsyncIterator[Remote]:
    """Open the one process that a command asks."""
    (address,) = addresses_of(options, _grpc_addr(options))
    async with Remote.open(address, reach_of(options)) as remote:
        yield remote


@asynccontextmanager
async def several(options: Namespace) -> AsyncIterator[Sequence[Remote]]:
    """Open the processes that a command asks; with --all every shard that those know of."""
    reach = reach_of(options)
    addresses = addresses_of(options, _grpc_addr(options))
    async with AsyncExitStack() as stack:
        remotes = [
            await stack.enter_async_context(Remote.open(address, reach)) for address in addresses
        ]
        if getattr(options, "all", False):
            remotes = [
                await stack.enter_async_context(Remote.open(address, reach))
                for address in await _known_to(remotes)
            ]
        yield remotes


async def _known_to(remotes: Sequence[Remote]) -> Sequence[str]:
    """Return the shard map of the first that answers; without a map, those that were asked."""
    problem: CommandError | None = None
    for remote in remotes:
        try:
            told = await remote.ask(remote.shard.ListShards, shard_pb2.ListShardsRequest())
        except CommandError as error:
            problem = problem or error
            continue
        return [shard.address for shard in told.shards] or [each.address for each in remotes]
    assert problem is not None
    raise problem


def _grpc_addr(options: Namespace) -> Address:
    """Read the environment only when the command line does not say whom to ask."""
    if options.address:
        return Address("")
    grpc_addr: Address = load(options.settings).grpc_addr  # of whichever program this is
    return grpc_addr
