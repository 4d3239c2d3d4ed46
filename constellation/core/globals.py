"""GlobalState: the trends and clusters that devices hold, and what changed between versions."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from constellation.federated.published import Published, Round

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from constellation.federated.trends import Trend

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
    """The current trends and those of the last versions, and the federation's last global.

    Versions only grow. The generation is when the shard started, in milliseconds since 1970, so
    versions repeat neither after a restart nor after the store was replaced by an older one.
    """

    def __init__(self, generation: int, region: str, trend_limit: int) -> None:
        self.version = Version(generation, 0)
        self.published: Published | None = None
        """What the federation published last."""
        self._region = region
        self._trend_limit = trend_limit
        self._local: Sequence[Trend] = ()
        self._served: Round = Round()
        self._versions: OrderedDict[Version, Mapping[Subject, Trend]] = OrderedDict(
            {self.version: {}}
        )

    @property
    def round(self) -> Round:
        """The round of the federation's last global; (0, 0) before the first."""
        return self.published.round if self.published else Round()

    def publish(self, trends: Sequence[Trend]) -> bool:
        """Make these the shard's own trends; return whether that makes a new version."""
        self._local = trends
        return self._advance()

    def adopt(self, published: Published) -> bool:
        """Take a later global of the federation; return whether that makes a new version."""
        assert published.round > self.round
        self.published = published
        return self._advance()

    def _advance(self) -> bool:
        state = self._merged()
        if state == self._versions[self.version] and self._served == self.round:
            return False
        self._served = self.round
        self.version = Version(self.version.generation, self.version.version + 1)
        self._versions[self.version] = state
        while len(self._versions) > _KEPT_VERSIONS:
            self._versions.popitem(last=False)
        return True

    def _merged(self) -> Mapping[Subject, Trend]:
        """Return the federation's trends that hold here, then the shard's own while there is room.

        Of the latter, what the federation knows of already is left out: it saw more.
        """
        merged: dict[Subject, Trend] = {}
        for trend in self.published.trends if self.published else ():
            if trend.is_global or trend.region == self._region:
                merged.setdefault((trend.content_id, trend.genre), trend)
        for trend in self._local:
            if len(merged) >= self._trend_limit:
                break
            merged.setdefault((trend.content_id, trend.genre), trend)
        return dict(list(merged.items())[: self._trend_limit])

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
