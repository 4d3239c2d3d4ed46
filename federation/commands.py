"""What the `federation` command does."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Final

import grpc
import structlog
from rich.console import Console

from constellation.commands.signals import Signals
from constellation.commands.status import DONE, FAILED
from constellation.core.errors import ConfigError, NotReadyError, QuorumError, StoreInUseError
from constellation.v1 import federation_pb2
from constellation.v1.federation_pb2_grpc import FederationServiceStub
from federation.printing import print_round
from federation.server import open_rounds, serve

if TYPE_CHECKING:
    from argparse import Namespace

    from constellation.v1.federation_pb2_grpc import FederationServiceAsyncStub
    from federation.config import FederationConfig

log = structlog.get_logger(__name__)

_TURN_SECONDS: Final = 5.0
"""How long a single round waits for its turn."""
_ASK_SECONDS: Final = 10.0
_WIDTH: Final = 120
"""Of a table that is not printed on a terminal."""


async def run_forever(config: FederationConfig, _: Namespace) -> int:
    """Run rounds until told to stop. A second signal ends the process at once."""
    stop = asyncio.Event()
    Signals(stop.set)
    async with serve(config) as federation:
        if sys.stderr.isatty():
            print(f"federation: serving on port {federation.port}; Ctrl-C stops", file=sys.stderr)
        await stop.wait()
    return DONE


async def run_round(config: FederationConfig, options: Namespace) -> int:
    """Run one round here, or ask the federation that runs for its newest; print it."""
    told = await (_run_once(config) if options.once else _ask(config))
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    print_round(console, told)
    return DONE if told.state == federation_pb2.ROUND_STATE_PUBLISHED else FAILED


async def _run_once(config: FederationConfig) -> federation_pb2.Round:
    """Run one round; return it, also when it lacked a quorum.

    Raises ConfigError without a journal that lasts: a journal is a generation, and the newest one's
    rounds replace those of every other.
    """
    if config.data_dir is None and config.postgres_url is None:
        raise ConfigError(
            "DATA_DIR or POSTGRES_URL is required: name the federation's journal, or a new "
            "directory when these shards have no federation"
        )
    async with open_rounds(config) as (rounds, _):
        try:
            async with asyncio.timeout(_TURN_SECONDS):
                await rounds.resume()
        except TimeoutError:
            raise StoreInUseError(
                "another federation is the active one: `federation round` shows its newest round, "
                "RunRound of its FederationService runs one"
            ) from None
        try:
            return await rounds.run()
        except QuorumError as error:
            log.error("round_failed", problem=str(error))  # noqa: TRY400 - no traceback: told whole
            told = await rounds.get(0)
            assert told is not None
            return told


async def _ask(config: FederationConfig) -> federation_pb2.Round:
    host, _, port = config.grpc_addr.rpartition(":")
    address = f"{'127.0.0.1' if host in {'0.0.0.0', '[::]'} else host}:{port}"  # noqa: S104 - asked, not bound
    async with grpc.aio.insecure_channel(address) as channel:
        stub: FederationServiceAsyncStub = FederationServiceStub(channel)
        try:
            answer = await stub.GetRound(federation_pb2.GetRoundRequest(), timeout=_ASK_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            raise NotReadyError(
                f"no federation answers at GRPC_ADDR={config.grpc_addr}, or it waits for its turn: "
                f"start `federation run`, or run a round here with --once ({error.details()})"
            ) from None
    return answer.round
