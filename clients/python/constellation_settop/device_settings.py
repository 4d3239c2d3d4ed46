"""Options of a device."""

from __future__ import annotations

from dataclasses import dataclass, field

from constellation_settop.errors import InvalidArgumentError
from constellation_settop.network.settings import SyncSettings
from constellation_settop.recommending.learning import LearningSettings
from constellation_settop.recommending.ranking import RankingWeights
from constellation_settop.storage.database import Durability
from constellation_settop.storage.identity import QUALITY_FLOOR


@dataclass(frozen=True, kw_only=True)
class DeviceSettings:
    """Options of a Device. The defaults suit one set-top device in a home."""

    device_id: bytes | None = None
    """The device's UUID, 16 bytes. None uses that of `sync.identity`, else that of the file, which
    is random for a new one."""
    delta_interval_seconds: float = 60.0
    """What was learned becomes a delta at most this often. The views are in the file at once."""
    durability: Durability = Durability.POWER_FAILURE
    """What a delta survives once it is written."""
    quality_floor: float = QUALITY_FLOOR
    """Patterns with a lower success rate never leave the device: a shard may only ask for more."""
    keep_journal: bool = False
    """Keep every acked delta for `Outbox.read_journal`. The journal grows without bound."""
    sync: SyncSettings = field(default_factory=SyncSettings)
    """How the device connects to its shard."""
    learning: LearningSettings = field(default_factory=LearningSettings)
    """How views become patterns."""
    weights: RankingWeights = field(default_factory=RankingWeights)
    """How much each source counts in recommendations."""

    def __post_init__(self) -> None:
        """Raise InvalidArgumentError unless the interval is positive."""
        if not self.delta_interval_seconds > 0:
            raise InvalidArgumentError(
                f"delta_interval_seconds must be above 0, got {self.delta_interval_seconds}"
            )
