"""A device on a stub shard, which tries again after a moment."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from constellation_settop import (
    Device,
    DeviceSettings,
    SyncSettings,
)
from tests.clients.samples import make_catalogue
from tests.clients.stub_shard import StubShard, serve_stub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


QUICK = SyncSettings(backoff_base_seconds=0.01, backoff_cap_seconds=0.05)


@asynccontextmanager
async def open_quick_device(stub: StubShard, data_dir: Path) -> AsyncIterator[Device]:
    """Open a device on a stub shard, which outlives it."""
    settings = DeviceSettings(sync=QUICK)
    async with (
        serve_stub(stub) as address,
        Device.open(
            address, data_dir=data_dir, catalogue=make_catalogue(), settings=settings
        ) as device,
    ):
        yield device
