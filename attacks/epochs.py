"""What two epochs tell when they are compared: differencing and linking, in one experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attacks import differencing, linking
from attacks.revisions import observe_revisions

if TYPE_CHECKING:
    from attacks.results import Outcome
    from attacks.world import World


async def run(world: World) -> list[Outcome]:
    """Let households watch on, and attack what changed."""
    revisions = await observe_revisions(world)
    return [
        differencing.score(world, revisions),
        linking.score_revisions(revisions),
    ]
