from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import grpc

from constellation_settop import Device, DeviceSettings, SyncSettings
from tests.clients.catalogue_model import make_item
from tests.clients.stub_shard import StubShard, serve_stub

if TYPE_CHECKING:
    from pathlib import Path

BUSY_SECONDS = 0.4
REFUSALS = 2


class BusyStub(StubShard):
    """A shard that copies its catalogue for too many other devices at first."""

    def __init__(self) -> None:
        super().__init__()
        self.asked_at: list[float] = []

    async def GetCatalogue(  # type: ignore[override]  # noqa: N802  # the stubs know generators only
        self, request: Any, context: Any
    ) -> None:
        self.asked_at.append(asyncio.get_running_loop().time())
        if len(self.asked_at) <= REFUSALS:
            context.set_trailing_metadata(
                (("grpc-retry-pushback-ms", str(round(BUSY_SECONDS * 1000))),)
            )
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "64 devices are copying")
        await super().GetCatalogue(request, context)


async def test_a_device_waits_as_long_as_a_busy_shard_asks(tmp_path: Path) -> None:
    stub = BusyStub()
    stub.catalogue.add(*(make_item(f"0-{each}", seed=each + 1) for each in range(20)))
    stub.model.catalogue_digest = stub.catalogue.digest
    settings = DeviceSettings(
        sync=SyncSettings(backoff_base_seconds=0.01, backoff_cap_seconds=0.02)
    )
    async with (
        serve_stub(stub) as address,
        Device.open(address, data_dir=tmp_path, settings=settings) as device,
    ):
        await device.wait_for_catalogue(10)

    pauses = [after - before for before, after in pairwise(stub.asked_at)]
    assert len(pauses) == REFUSALS
    assert all(BUSY_SECONDS <= pause < BUSY_SECONDS + 5 for pause in pauses)
