"""The federation of the demo: `federation run`, and a client of its API."""

from __future__ import annotations

import signal
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc

from constellation.auth.principal import Role
from constellation.v1 import federation_pb2 as pb
from constellation.v1.federation_pb2_grpc import FederationServiceStub
from examples.demo.process import ANY_PORT, SIDE_PORTS, DemoError, ServerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from constellation.v1.federation_pb2_grpc import FederationServiceAsyncStub
    from examples.demo.security import OpenFleet

SETTINGS_OVERRIDES: Final = {
    "MIN_SHARDS": "2",
    "GLOBAL_K_ANONYMITY": "3",
    "CANDIDATE_DEVICES": "3",
    "TREND_FLOOR": "1",
    "TREND_SURPRISE": "0",
    "CATCH_UP_SECONDS": "1",
    "REANCHOR_HOURS": "0.001",
    "FEDERATION_INTERVAL_SECS": "0",
    "RELATED_INTERVAL_SECS": "0",
}
"""Settings for two shards and some hundred devices. The demo starts each round itself."""
_ROUND_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class RequestedRound:
    """One round that the demo started."""

    activity: str
    """What happened meanwhile, for people."""
    report: pb.Round
    """The federation's account of the round."""
    seconds: float
    """From its start until it was published or given up."""

    @property
    def is_published(self) -> bool:
        """True when the round was published; False without a quorum."""
        return self.report.state == pb.ROUND_STATE_PUBLISHED


class FederationProcess:
    """One federation above the demo's shards."""

    def __init__(self, process: ServerProcess, stub: FederationServiceAsyncStub) -> None:
        self.process = process
        self._stub = stub
        self.rounds: list[RequestedRound] = []
        """Every round so far, in order."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        folder: Path,
        journal: Mapping[str, str],
        addresses: Sequence[str],
        security: OpenFleet,
    ) -> AsyncIterator[FederationProcess]:
        """Start a federation. It is killed if it still runs when the block ends."""
        process = ServerProcess(
            ("federation", "run"), "federation_active", folder / "federation.log"
        )
        settings = {
            "SHARD_ADDRS": ",".join(addresses),
            "GRPC_ADDR": ANY_PORT,
            **security.server_settings,
            **security.federation_settings,
        }
        try:
            port = await process.start({**journal, **settings, **SETTINGS_OVERRIDES, **SIDE_PORTS})
            async with security.open_channel(f"127.0.0.1:{port}", Role.OPERATOR) as channel:
                yield cls(process, FederationServiceStub(channel))
        finally:
            await process.kill_if_running()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def published_rounds(self) -> Sequence[RequestedRound]:
        """The rounds that were published, in order."""
        return [each for each in self.rounds if each.is_published]

    async def run_round(self, activity: str) -> RequestedRound:
        """Run a round now, and return its result, also when there was no quorum.

        Raises DemoError when the federation fails to run it.
        """
        try:
            answer = await self._stub.RunRound(pb.RunRoundRequest(), timeout=_ROUND_SECONDS)
            report = answer.round
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                why = f"{error.code().name}, {error.details()}"
                raise DemoError(f"the round failed: {why}; see {self.process.log_file}") from error
            newest = await self._stub.GetRound(pb.GetRoundRequest(), timeout=_ROUND_SECONDS)
            report = newest.round
        parts = (report.pull_time, report.merge_time, report.publish_time)
        seconds = sum(part.ToNanoseconds() for part in parts) / 1e9
        self.rounds.append(RequestedRound(activity, report, seconds))
        return self.rounds[-1]

    async def stop(self) -> int:
        """Ask the federation to end; return its exit code."""
        return await self.process.end(signal.SIGTERM)
