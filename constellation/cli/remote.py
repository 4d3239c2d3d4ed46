"""Call processes over gRPC, and explain their errors to people."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from constellation.cli.connection_flags import choose_addresses, parse_connection_options
from constellation.cli.errors import CommandError
from constellation.cli.explain import explain_error, explain_unknown_method, is_from_server
from constellation.cli.printing import print_message
from constellation.config import Address
from constellation.config_loader import load_config
from constellation.v1 import shard_pb2
from constellation.v1.federation_pb2_grpc import FederationServiceStub
from constellation.v1.health_pb2_grpc import HealthServiceStub
from constellation.v1.process_pb2_grpc import ProcessServiceStub
from constellation.v1.shard_pb2_grpc import ShardServiceStub

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from constellation.cli.connection_flags import ConnectionOptions
    from constellation.v1.federation_pb2_grpc import FederationServiceAsyncStub
    from constellation.v1.health_pb2_grpc import HealthServiceAsyncStub
    from constellation.v1.process_pb2_grpc import ProcessServiceAsyncStub
    from constellation.v1.shard_pb2_grpc import ShardServiceAsyncStub

Request = TypeVar("Request")
Response = TypeVar("Response")


class Remote:
    """A process at one address: stubs of its services, and calls with explained errors."""

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
    async def open(cls, address: str, connection: ConnectionOptions) -> AsyncIterator[Remote]:
        async with connection.open_channel(address) as channel:
            yield cls(address, channel, connection.timeout_seconds)

    async def call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        timeout_seconds: float | None = None,
    ) -> Response:
        """Call a method and return its response.

        Raises CommandError, which explains why the call failed. The time limit is that of
        `--timeout` unless `timeout_seconds` is given.
        """
        try:
            return await method(request, timeout=timeout_seconds or self._timeout_seconds)
        except grpc.aio.AioRpcError as error:
            method_name = type(request).__name__.removesuffix("Request")
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                services = [
                    name for name in ("Shard", "Federation") if await self._has_service(name)
                ]
                raise CommandError(
                    explain_unknown_method(method_name, self.address, services)
                ) from None
            raise CommandError(
                explain_error(error, method_name, self.address),
                is_connection_error=not is_from_server(error),
            ) from error

    async def find(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        or_not_ready: bool = False,
    ) -> Response | None:
        """Call a method and return its response, or None when the server answers NOT_FOUND.

        With `or_not_ready`, also return None when the server answers UNAVAILABLE. Raises
        CommandError for every other error, and when no connection is made.
        """
        try:
            return await self.call(method, request)
        except CommandError as error:
            cause = error.__cause__
            if not isinstance(cause, grpc.aio.AioRpcError) or error.is_connection_error:
                raise
            missing = cause.code() is grpc.StatusCode.NOT_FOUND
            if missing or (or_not_ready and cause.code() is grpc.StatusCode.UNAVAILABLE):
                return None
            raise

    async def _has_service(self, name: str) -> bool:
        health: Any = health_pb2_grpc.HealthStub(self._channel)
        request = health_pb2.HealthCheckRequest(service=f"constellation.v1.{name}Service")
        try:
            await health.Check(request, timeout=self._timeout_seconds)
        except grpc.aio.AioRpcError:  # NOT_FOUND; or UNIMPLEMENTED, without a health service
            return False
        return True


@asynccontextmanager
async def open_remote(options: Namespace) -> AsyncIterator[Remote]:
    """Open the one process that the command line names.

    Raises CommandError for wrong flags, and ConfigError for wrong settings.
    """
    (address,) = choose_addresses(options, _read_grpc_addr(options))
    async with Remote.open(address, parse_connection_options(options)) as remote:
        yield remote


@asynccontextmanager
async def open_remotes(options: Namespace) -> AsyncIterator[Sequence[Remote]]:
    """Open the processes that the command line names; with --all, every shard of the shard map.

    The shard map is that of the environment, else that of the first of these processes to answer.
    Raises CommandError for wrong flags and when --all reaches no shard, and ConfigError for wrong
    settings.
    """
    connection = parse_connection_options(options)
    is_all = getattr(options, "all", False)
    mapped = _read_shard_map(options) if is_all else ()
    addresses = mapped or choose_addresses(options, _read_grpc_addr(options))
    async with AsyncExitStack() as stack:
        remotes = [
            await stack.enter_async_context(Remote.open(address, connection))
            for address in addresses
        ]
        if is_all and not mapped:
            remotes = [
                await stack.enter_async_context(Remote.open(address, connection))
                for address in await _list_shard_addresses(remotes)
            ]
        yield remotes


async def ask_each(
    remotes: Sequence[Remote], ask: Callable[[Remote], Awaitable[Response]]
) -> Sequence[tuple[Remote, Response | CommandError]]:
    """Ask every process, and return what each answered, or why it could not be asked.

    Raises the first CommandError when none answered.
    """

    async def ask_one(remote: Remote) -> Response | CommandError:
        try:
            return await ask(remote)
        except CommandError as error:
            return error

    answers = await asyncio.gather(*(ask_one(remote) for remote in remotes))
    problems = [each for each in answers if isinstance(each, CommandError)]
    if len(problems) == len(remotes):
        raise problems[0]
    return list(zip(remotes, answers, strict=True))


async def ask_owners(
    remotes: Sequence[Remote],
    device: str,
    ask: Callable[[Remote], Awaitable[Response | None]],
    *,
    is_fleet: bool,
) -> tuple[Sequence[tuple[str, Response]], bool]:
    """Ask every shard about a device; return answers by address, and whether all could be asked.

    `ask` returns None for a shard that does not have the device. Why a shard could not be asked is
    printed. Raises CommandError when no shard has the device; `is_fleet` says that all were asked.
    """
    answers = await ask_each(remotes, ask)
    problems = [each for _, each in answers if isinstance(each, CommandError)]
    for problem in problems:
        print_message(f"constellation: {problem}")
    found = [
        (remote.address, each)
        for remote, each in answers
        if each is not None and not isinstance(each, CommandError)
    ]
    if not found:
        addresses = ", ".join(remote.address for remote in remotes)
        hint = "" if is_fleet else "; --all searches every shard of the shard map"
        raise CommandError(f"no device {device} has synced at {addresses}{hint}")
    return found, not problems


async def _list_shard_addresses(remotes: Sequence[Remote]) -> Sequence[str]:
    """Return the addresses in the shard map of the first process that answers.

    Without a shard map, return the addresses of `remotes`. Raises the first CommandError when no
    process answers.
    """
    problem: CommandError | None = None
    for remote in remotes:
        try:
            response = await remote.call(remote.shard.ListShards, shard_pb2.ListShardsRequest())
        except CommandError as error:
            problem = problem or error
            continue
        addresses = [shard.internal_address or shard.address for shard in response.shards]
        return list(dict.fromkeys(addresses)) or [each.address for each in remotes]
    assert problem is not None
    raise problem


def _read_shard_map(options: Namespace) -> Sequence[str]:
    """Return the addresses in INTERNAL_SHARD_MAP of the environment, else those in SHARD_MAP.

    None when --address is given.
    """
    if options.address:
        return ()
    config = load_config(options.settings)
    return list((config.internal_shard_map or config.shard_map).values())


def _read_grpc_addr(options: Namespace) -> Address:
    """Return where commands reach this machine's process; empty when --address is given.

    That is INTERNAL_ADDR where there is one, because GRPC_ADDR then serves devices alone.
    """
    if options.address:
        return Address("")
    config = load_config(options.settings)  # of this program
    internal: Address | None = getattr(config, "internal_addr", None)  # a federation has none
    address: Address = config.grpc_addr
    return internal or address
