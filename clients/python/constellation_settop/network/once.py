"""One sync for hosts that schedule syncs themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from constellation_settop.network.settings import SyncSettings
from constellation_settop.network.sync import Sync

if TYPE_CHECKING:
    from constellation_settop.storage.outbox import Outbox


async def sync_once(
    address: str,
    outbox: Outbox,
    settings: SyncSettings | None = None,
    *,
    deadline_seconds: float = 60.0,
) -> None:
    """Connect, send every delta, take what is new, and disconnect.

    For hosts that schedule the exchange themselves. Raises UnreachableError when it takes longer
    than `deadline_seconds`, and CredentialError instead when the shard refuses the credential.

    Example:
        with Outbox.open("device.sqlite") as outbox:
            await sync_once("shard.example:50051", outbox)
    """
    single_session = replace(settings or SyncSettings(), stay_connected=False)
    async with Sync.open(address, outbox, single_session) as sync:
        await sync.wait_for_session(deadline_seconds)
