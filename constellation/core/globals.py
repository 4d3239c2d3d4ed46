"""GlobalState: the trends and clusters that devices hold, and what changed between versions."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from constellation.federated.published import PublishedGlobal, RoundKey

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from constellation.federated.trends import Trend

_KEPT_VERSIONS: Final = 64
"""A device that is further behind gets the full state."""

Subject = tuple[str, str]
"""A content id and a genre, one of them empty."""


@dataclass(frozen=True, slots=True, order=True)
class GlobalVersion:
    """Names one published state; (0, 0) is what a device without any holds."""

    generation: int = 0
    version: int = 0


@dataclass(frozen=True, slots=True)
class TrendChange:
    """What brings a device's trends to a version."""

    version: GlobalVersion
    is_reset: bool
    upserts: Sequence[Trend]
    removed_subjects: Sequence[Subject]
    trend_count: int
    """Trends the device holds afterwards."""


class GlobalState:
    """The current trends and those of the last versions, and the federation's last global.

    Versions only grow. The generation is when the shard started, in milliseconds since 1970, so
    versions repeat neither after a restart nor after the store was replaced by an older one.
    """

    def __init__(self, generation: int, region: str, trend_limit: int) -> None:
        self.version = GlobalVersion(generation, 0)
        self.published: PublishedGlobal | None = None
        """What the federation published last."""
        self._region = region
        self._trend_limit = trend_limit
        self._local_trends: Sequence[Trend] = ()
        self._served_round: RoundKey = RoundKey()
        self._versions: OrderedDict[GlobalVersion, Mapping[Subject, Trend]] = OrderedDict(
            {self.version: {}}
        )

    @property
    def round(self) -> RoundKey:
        """The round of the federation's last global; (0, 0) before the first."""
        return self.published.round if self.published else RoundKey()

    def set_local_trends(self, trends: Sequence[Trend]) -> bool:
        """Make these the shard's own trends; return whether that makes a new version."""
        self._local_trends = trends
        return self._advance()

    def adopt(self, published: PublishedGlobal) -> bool:
        """Take a later global of the federation; return whether that makes a new version."""
        assert published.round > self.round
        self.published = published
        return self._advance()

    def _advance(self) -> bool:
        state = self._merge_trends()
        if state == self._versions[self.version] and self._served_round == self.round:
            return False
        self._served_round = self.round
        self.version = GlobalVersion(self.version.generation, self.version.version + 1)
        self._versions[self.version] = state
        while len(self._versions) > _KEPT_VERSIONS:
            self._versions.popitem(last=False)
        return True

    def _merge_trends(self) -> Mapping[Subject, Trend]:
        """Return the federation's trends that hold here, then the shard's own while there is room.

        Of the latter, what the federation knows of already is left out: it saw more.
        """
        merged: dict[Subject, Trend] = {}
        for trend in self.published.trends if self.published else ():
            if trend.is_global or trend.region == self._region:
                merged.setdefault((trend.content_id, trend.genre), trend)
        for trend in self._local_trends:
            if len(merged) >= self._trend_limit:
                break
            merged.setdefault((trend.content_id, trend.genre), trend)
        return dict(list(merged.items())[: self._trend_limit])

    def trends(self) -> list[Trend]:
        """Return the current trends, strongest first."""
        return sorted(self._versions[self.version].values(), key=lambda trend: -trend.score)

    def change_since(self, held: GlobalVersion) -> TrendChange:
        """Return what a device that holds a version needs; a full state when it is unknown."""
        current = self._versions[self.version]
        base = self._versions.get(held)
        known = base if base is not None else {}
        upserts = [trend for subject, trend in current.items() if known.get(subject) != trend]
        removed = [subject for subject in known if subject not in current]
        return TrendChange(self.version, base is None, upserts, removed, len(current))
