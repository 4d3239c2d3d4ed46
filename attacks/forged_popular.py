"""A shard that makes up popular content: what can it make of a device?

Popular content is what a device shows before it knows its household. The shard sends a list that no
federation made, with a film of its choice.
"""

from __future__ import annotations

from tempfile import TemporaryDirectory
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attacks.game import score_share
from attacks.hostile_shard import open_device, serve_hostile_shard
from attacks.results import Goal, Outcome
from constellation.v1 import patterns_pb2 as patterns
from constellation_settop import GlobalKeys, View
from testing.catalogue import load_catalogue

FORGED_POPULAR: Final = Goal(
    "forged_popular",
    "as a shard, make devices hold a popular list that no federation signed (protection off: no "
    "pinned keys)",
    "devices that hold it",
    reach=0.0,
    least=1.0,
)
TRIALS: Final = 24
_SECONDS: Final = 30.0
_VERSION: Final = patterns.GlobalVersion(generation=1, version=1)


async def run_alone() -> list[tuple[Outcome, Outcome]]:
    """Return for each goal what is reached without the protection, and with it."""
    keys = GlobalKeys({"federation": Ed25519PrivateKey.generate().public_key().public_bytes_raw()})
    return [(await _forge_popular(None), await _forge_popular(keys))]


async def _forge_popular(keys: GlobalKeys | None) -> Outcome:
    """Send an unsigned list of popular content; return how many devices hold it afterwards."""
    film = load_catalogue().films[0].content_id
    popular = patterns.PopularContents(id=bytes(16), content_ids=[film], households=[1000])
    update = patterns.GlobalUpdate(nonce=1, version=_VERSION, popular=[popular])
    holding = 0
    async with serve_hostile_shard(update) as (_, address):
        for _ in range(TRIALS):
            with TemporaryDirectory(prefix="forged-") as folder:
                async with open_device(address, folder, keys) as device:
                    device.observe(View(film, 1.0, 1.0))
                    await device.flush(_SECONDS)
                    holding += bool(device.outbox.global_state.popular)
    return Outcome(FORGED_POPULAR, score_share(holding, TRIALS))
