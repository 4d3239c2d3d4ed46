"""GlobalState: the trends that devices hold, and what changed between versions."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from constellation.core.trends import Trend

_KEPT_VERSIONS: Final = 64
"""A device that is further behind gets the full state."""

Subject = tuple[str, str]
"""A content id and a genre, one of them empty."""


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """Names one published state; (0, 0) is what a device without any holds."""

    generation: int = 0
    version: int = 0


@dataclass(frozen=True, slots=True)
class TrendChange:
    """What brings a device's trends to a version."""

    version: Version
    reset: bool
    upserts: Sequence[Trend]
    removed: Sequence[Subject]
    count: int
    """Trends the device holds afterwards."""


class GlobalState:
    """The current trends and those of the last versions. Versions only grow.

    The generation is when the shard started, in milliseconds since 1970, so versions repeat neither
    after a restart nor after the store was replaced by an older or an empty one.
    """

    def __init__(self, generation: int) -> None:
        self.version = Version(generation, 0)
        self._versions: OrderedDict[Version, Mapping[Subject, Trend]] = OrderedDict(
            {self.version: {}}
        )

    def publish(self, trends: Sequence[Trend]) -> bool:
        """Make these the trends; return whether that is a new version."""
        state = {(trend.content_id, trend.genre): trend for trend in trends}
        if state == self._versions[self.version]:
            return False
        self.version = Version(self.version.generation, self.version.version + 1)
        self._versions[self.version] = state
        while len(self._versions) > _KEPT_VERSIONS:
            self._versions.popitem(last=False)
        return True

    def trends(self) -> list[Trend]:
        """Return the current trends, strongest first."""
        return sorted(self._versions[self.version].values(), key=lambda trend: -trend.score)

    def change_since(self, held: Version) -> TrendChange:
        """Return what a device that holds a version needs; a full state when it is unknown."""
        current = self._versions[self.version]
        base = self._versions.get(held)
        known = base if base is not None else {}
        upserts = [trend for subject, trend in current.items() if known.get(subject) != trend]
        removed = [subject for subject in known if subject not in current]
        return TrendChange(self.version, base is None, upserts, removed, len(current))
