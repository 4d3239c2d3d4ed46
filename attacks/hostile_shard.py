"""A hostile shard: a server of SyncService that asks devices for more than a shard may have."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from functools import cache, partial
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import grpc

from attacks.game import score_share
from attacks.results import Goal, Outcome
from constellation.v1 import patterns_pb2 as patterns
from constellation.v1 import sync_pb2 as pb
from constellation.v1 import sync_pb2_grpc
from constellation_settop import (
    Device,
    DeviceSettings,
    Durability,
    RankingWeights,
    SyncSettings,
)
from constellation_settop.columns import to_patterns
from examples.demo.households import to_settop_catalogue
from quality.schedule import make_views
from testing.catalogue import load_catalogue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from constellation_settop import Catalogue, GlobalKeys, Pattern
    from quality.split import Household

LOWERED: Final = Goal(
    "lowered_threshold",
    "as a shard, ask devices for the patterns that are below their own threshold (protection off: "
    "devices without a threshold)",
    "patterns revealed",
    reach=0.0,
    least=1.0,
)
NOT_SHARING: Final = Goal(
    "not_sharing",
    "as a shard, ask a device that does not share for everything (protection off: it shares)",
    "devices that reveal anything",
    reach=0.0,
    least=1.0,
)
HOUSEHOLDS: Final = 12
DEFAULT_FLOOR: Final = DeviceSettings.quality_floor
_SECONDS: Final = 30.0


class HostileShard(sync_pb2_grpc.SyncServiceServicer):
    """Asks for everything again, with no threshold at all, and keeps what it gets."""

    def __init__(self, update: patterns.GlobalUpdate | None = None) -> None:
        self.deltas: list[patterns.Delta] = []
        self.hellos: list[pb.Hello] = []
        self._update = update
        """What every call is answered with; None for nothing new."""
        self._seq = 0

    async def Sync(  # type: ignore[override]  # noqa: N802  # the stubs know generators only
        self, request_iterator: AsyncIterator[pb.SyncRequest], context: Any
    ) -> None:
        """Serve one session."""
        asked_again = False
        async for frame in request_iterator:
            kind = frame.WhichOneof("frame")
            if kind == "hello":
                self._seq = frame.hello.last_acked_seq
                await context.write(pb.SyncResponse(welcome=self._make_welcome()))
            elif kind == "delta":
                self._seq = frame.delta.seq
                self.deltas.append(frame.delta)
                ack = patterns.DeltaAck(through_seq=self._seq, expected_seq=self._seq + 1)
                if not asked_again:  # perhaps the device tells more under the new rules
                    ack.full_resync = asked_again = True
                await context.write(pb.SyncResponse(delta_ack=ack))
            elif kind == "bye":
                await context.write(pb.SyncResponse(bye=frame.bye))
                return

    async def Exchange(self, request: pb.ExchangeRequest, context: Any) -> pb.ExchangeResponse:  # noqa: N802  # gRPC fixes the name
        """Serve one call, and ask for everything again."""
        del context
        hello = request.hello
        self.hellos.append(hello)
        self._seq = hello.last_acked_seq
        response = pb.ExchangeResponse(
            welcome=self._make_welcome(),
            update=patterns.GlobalUpdate(
                version=hello.global_version, similar_count=len(hello.held_similar_ids) // 16
            ),
        )
        if self._update is not None:
            response.update.CopyFrom(self._update)
        for delta in request.deltas:
            self._seq = delta.seq
            self.deltas.append(delta)
            response.ack.through_seq, response.ack.expected_seq = self._seq, self._seq + 1
        return response

    async def GetSyncVersion(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Refuse."""
        await _refuse(request, context)

    async def GetCatalogue(  # type: ignore[override]  # noqa: N802  # the stubs know generators only
        self, request: Any, context: Any
    ) -> Any:
        """Refuse: these devices bring their catalogue."""
        await _refuse(request, context)

    def read_patterns(self) -> dict[bytes, Pattern]:
        """Return every pattern that any device revealed."""
        return {
            pattern.pattern_id: pattern
            for delta in self.deltas
            for pattern in to_patterns(delta.upserts)
        }

    def _make_welcome(self) -> pb.Welcome:
        return pb.Welcome(
            epoch=1,
            expected_seq=self._seq + 1,
            full_resync=True,
            encoding=patterns.ENCODING_INT8,
            max_inflight_deltas=32,
            max_patterns_per_delta=4096,
            max_patterns=4096,
            quality_threshold=0.0,
        )


async def _refuse(_: Any, context: Any) -> None:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "this shard serves streams only")


@asynccontextmanager
async def serve_hostile_shard(
    update: patterns.GlobalUpdate | None = None,
) -> AsyncIterator[tuple[HostileShard, str]]:
    """Serve a hostile shard that sends an update in each call; yield it with its address."""
    shard, server = HostileShard(update), grpc.aio.server()
    sync_pb2_grpc.add_SyncServiceServicer_to_server(shard, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield shard, f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def run_alone(households: Sequence[Household]) -> list[tuple[Outcome, Outcome]]:
    """Return for each goal what is reached without the protection, and with it."""
    chosen = sorted(households, key=lambda each: -len(each.watched))[:HOUSEHOLDS]
    return [
        (await _ask_for_poor(chosen, 0.0), await _ask_for_poor(chosen, DEFAULT_FLOOR)),
        (
            await _ask_silent(chosen, is_sharing=True),
            await _ask_silent(chosen, is_sharing=False),
        ),
    ]


async def _ask_for_poor(households: Sequence[Household], floor: float) -> Outcome:
    """Return the share of patterns below the default threshold that the shard received."""
    async with serve_hostile_shard() as (shard, address):
        known = await _sync_all(address, households, floor=floor)
        revealed = shard.read_patterns()
    poor = [each for each in known if each.success_rate < DEFAULT_FLOOR]
    return Outcome(LOWERED, score_share(sum(e.pattern_id in revealed for e in poor), len(poor)))


async def _ask_silent(households: Sequence[Household], *, is_sharing: bool) -> Outcome:
    """Return the share of devices that sent the shard any content item or pattern."""
    telling = 0
    for household in households:
        async with serve_hostile_shard() as (shard, address):
            await _sync_all(address, [household], is_sharing=is_sharing)
            telling += any(
                delta.upserts.ids or delta.signals.content_ids or delta.liked_content_ids
                for delta in shard.deltas
            )
    return Outcome(NOT_SHARING, score_share(telling, len(households)))


async def _sync_all(
    address: str,
    households: Sequence[Household],
    *,
    floor: float = DEFAULT_FLOOR,
    is_sharing: bool = True,
) -> list[Pattern]:
    """Let real devices hear the rules, then watch and sync.

    Returns their patterns, which only the referee knows.
    """
    known: list[Pattern] = []
    with TemporaryDirectory(prefix="hostile-") as folder:
        for household in households:
            settings = DeviceSettings(
                quality_floor=floor,
                durability=Durability.PROCESS_CRASH,
                sync=SyncSettings(stay_connected=False, backoff_base_seconds=0.1),
            )
            opening = partial(
                Device.open,
                address,
                data_dir=f"{folder}/{household.number}",
                catalogue=load_settop_catalogue(),
                settings=settings,
            )
            async with opening() as device:
                if not is_sharing:
                    device.sharing = False
                await device.sync.wait_for_session(_SECONDS)
            async with opening() as device:
                for view in make_views(household.watched, time.time()):
                    device.observe(view)
                await device.flush(_SECONDS)
                known += [each.pattern for each in device.outbox.read_learned()]
    return known


@asynccontextmanager
async def open_device(
    address: str,
    folder: str,
    keys: GlobalKeys | None = None,
    weights: RankingWeights | None = None,
) -> AsyncIterator[Device]:
    """Open a device with a file in a folder, which syncs with the shard at an address."""
    settings = DeviceSettings(
        durability=Durability.PROCESS_CRASH,
        weights=weights or RankingWeights(),
        sync=SyncSettings(stay_connected=False, backoff_base_seconds=0.1, global_keys=keys),
    )
    opening = Device.open(
        address, data_dir=folder, catalogue=load_settop_catalogue(), settings=settings
    )
    async with opening as device:
        yield device


@cache
def load_settop_catalogue() -> Catalogue:
    """Return the catalogue, as a device reads it."""
    return to_settop_catalogue(load_catalogue())
