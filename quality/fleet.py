"""The servers under evaluation: three shards on SQLite and a federation, each a process."""

from __future__ import annotations

import signal
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc

from constellation.placement import format_map
from constellation.v1 import federation_pb2 as pb
from constellation.v1.federation_pb2_grpc import FederationServiceStub
from examples.demo.operator_client import OperatorClient
from examples.demo.process import ANY_PORT, SIDE_PORTS, ServerProcess
from quality.counting_proxy import CountingProxy, Traffic
from testing.ports import find_free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from constellation.v1.federation_pb2_grpc import FederationServiceAsyncStub
    from testing.catalogue import FilmCatalogue

SHARD_COUNT: Final = 3
SHARD_SETTINGS: Final = {
    "INSECURE": "1",
    "GLOBAL_INTERVAL_SECONDS": "1",
    "SHARED_PATTERNS_SECONDS": "1",
    "DRAIN_SECONDS": "0",
    "MIN_DEVICE_AGE_DAYS": "0",
    "PATTERNS_PER_WEEK": "65535",
    "SIGNALS_PER_WEEK": "65535",
    "LIKED_PER_WEEK": "65535",
}
"""Settings besides the defaults. They shorten waiting: every household counts from the start, and
watches years of views in one week."""
FEDERATION_SETTINGS: Final = {
    "INSECURE": "1",
    "FEDERATION_INTERVAL_SECS": "0",
    "RELATED_INTERVAL_SECS": "0",
}
"""Settings besides the defaults: each round is asked for, and does everything."""
SMALL_FLEET_SETTINGS: Final = {"GLOBAL_K_ANONYMITY": "5"}
"""The floor of devices for a fleet of hundreds: the default of 50 is a tenth of it."""
_ROUND_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class Fleet:
    """The shards that run, each behind a proxy that counts bytes."""

    folder: Path
    shard_addresses: Sequence[str]
    """Of the shards themselves, for the federation."""
    proxies: Sequence[CountingProxy]

    @property
    def shard_map(self) -> Mapping[int, str]:
        """Where devices find each shard: the addresses of the proxies."""
        return {number: f"127.0.0.1:{each.port}" for number, each in enumerate(self.proxies)}

    @property
    def traffic(self) -> Traffic:
        """Bytes between devices and shards so far."""
        return sum((each.traffic for each in self.proxies), Traffic())


@asynccontextmanager
async def start_shards(
    folder: Path, films: FilmCatalogue, settings: Mapping[str, str] = SHARD_SETTINGS
) -> AsyncIterator[Fleet]:
    """Start the shards, and fill their catalogues. They are killed when the block ends."""
    ports = [find_free_port() for _ in range(SHARD_COUNT)]
    async with AsyncExitStack() as stack:
        proxies = [await stack.enter_async_context(CountingProxy.open(port)) for port in ports]
        fleet = Fleet(folder, [f"127.0.0.1:{port}" for port in ports], proxies)
        for shard_id, address in enumerate(fleet.shard_addresses):
            own = {
                "SHARD_ID": str(shard_id),
                "SHARD_MAP": format_map(fleet.shard_map),
                "GRPC_ADDR": address,
                "DATA_DIR": str(folder / f"shard-{shard_id}"),
            }
            process = ServerProcess(
                ("constellation", "serve"), "shard_started", folder / f"shard-{shard_id}.log"
            )
            stack.push_async_callback(process.kill_if_running)
            await process.start({**own, **settings, **SIDE_PORTS})
            operator = await stack.enter_async_context(OperatorClient.open(address))
            await operator.add_films(films, lambda _: None)
        yield fleet


class Federation:
    """A federation that runs; rounds begin when they are asked for."""

    def __init__(self, stub: FederationServiceAsyncStub) -> None:
        """Use a stub. Callers use `open`."""
        self._stub = stub

    @classmethod
    @asynccontextmanager
    async def open(
        cls, fleet: Fleet, name: str, settings: Mapping[str, str]
    ) -> AsyncIterator[Federation]:
        """Start a federation with a journal of its own. It is ended when the block ends."""
        process = ServerProcess(
            ("federation", "run"), "federation_active", fleet.folder / f"{name}.log"
        )
        environment = {
            "SHARD_ADDRS": ",".join(fleet.shard_addresses),
            "GRPC_ADDR": ANY_PORT,
            "DATA_DIR": str(fleet.folder / name),
            **FEDERATION_SETTINGS,
            **settings,
            **SIDE_PORTS,
        }
        try:
            port = await process.start(environment)
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield cls(FederationServiceStub(channel))
            await process.end(signal.SIGTERM)
        finally:
            await process.kill_if_running()

    async def run_round(self) -> pb.Round:
        """Run one round, and return the federation's account of it."""
        answer = await self._stub.RunRound(pb.RunRoundRequest(), timeout=_ROUND_SECONDS)
        return answer.round
