"""GlobalState: the trends and clusters that devices get, and what changed between versions."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from constellation.core.rows import TermKind
from constellation.federated.published import PublishedGlobal, RoundKey
from constellation.federated.trends import Direction, Trend, rank_trends

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from constellation.core.rules import Rules
    from constellation.core.table.hourly import HourlyRing
    from constellation.core.table.shard_table import Table

_KEPT_VERSIONS: Final = 64
"""Versions kept for updates; a device with an older one gets the full state."""

_GENRE_SHARE: Final = 5
"""One trend in this many may be the trend of a genre."""

Subject = tuple[str, str]
"""A content id and a genre, one of them empty."""


@dataclass(frozen=True, slots=True, order=True)
class GlobalVersion:
    """Names one state that was published to devices; (0, 0) means that a device has none."""

    generation: int = 0
    version: int = 0


@dataclass(frozen=True, slots=True)
class TrendChange:
    """The changes that bring a device's trends to a version."""

    version: GlobalVersion
    """The version that the device holds afterwards."""
    base: GlobalVersion | None
    """The version from which it is a change; None for a device that must drop its trends."""
    upserts: Sequence[Trend]
    removed_subjects: Sequence[Subject]
    trend_count: int
    """The number of trends that the device holds afterwards."""

    @property
    def is_reset(self) -> bool:
        """Whether the device must drop the trends that it holds."""
        return self.base is None


class GlobalState:
    """The current trends, those of recent versions, and the federation's last global state.

    Versions only grow. The generation is the time at which the shard started, in milliseconds since
    1970, so that versions do not repeat after a restart, even on an older copy of the store.
    """

    def __init__(self, generation: int, region: str, trend_limit: int) -> None:
        self.version = GlobalVersion(generation, 0)
        self.published: PublishedGlobal | None = None
        """The global state that the federation published last; None before the first."""
        self._region = region
        self._trend_limit = trend_limit
        self._local_trends: Sequence[Trend] = ()
        self._served_round: RoundKey = RoundKey()
        self._versions: OrderedDict[GlobalVersion, Mapping[Subject, Trend]] = OrderedDict(
            {self.version: {}}
        )
        self._changes: dict[GlobalVersion | None, TrendChange] = {}
        """By the version from which they are: the changes to the present version."""

    @property
    def round(self) -> RoundKey:
        """The round of the federation's last global state; (0, 0) before the first."""
        return self.published.round if self.published else RoundKey()

    def set_local_trends(self, trends: Sequence[Trend]) -> bool:
        """Replace the shard's own trends; return whether that makes a new version."""
        self._local_trends = trends
        return self._advance()

    def adopt(self, published: PublishedGlobal) -> bool:
        """Take a later global state of the federation; return whether that makes a new version."""
        assert published.round > self.round
        self.published = published
        return self._advance()

    def _advance(self) -> bool:
        """Make a new version when the trends or the round changed; return whether they did."""
        state = self._merge_trends()
        if state == self._versions[self.version] and self._served_round == self.round:
            return False
        self._served_round = self.round
        self.version = GlobalVersion(self.version.generation, self.version.version + 1)
        self._versions[self.version] = state
        self._changes.clear()
        while len(self._versions) > _KEPT_VERSIONS:
            self._versions.popitem(last=False)
        return True

    def _merge_trends(self) -> Mapping[Subject, Trend]:
        """Return the federation's trends for this region, then the shard's own while there is room.

        Of two trends of one subject the federation's counts, because it saw more devices.
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

    def change_since(self, version: GlobalVersion) -> TrendChange:
        """Return what changed after a version; all trends when that version is unknown."""
        base = version if version in self._versions else None
        change = self._changes.get(base)
        if change is None:
            change = self._changes[base] = self._compute_change(base)
        return change

    def _compute_change(self, base: GlobalVersion | None) -> TrendChange:
        current = self._versions[self.version]
        known = self._versions[base] if base is not None else {}
        upserts = [trend for subject, trend in current.items() if known.get(subject) != trend]
        removed = [subject for subject in known if subject not in current]
        return TrendChange(self.version, base, upserts, removed, len(current))


def compute_local_trends(
    table: Table, ring: HourlyRing, rules: Rules, now_hour: int
) -> list[Trend]:
    """Return the strongest trends of a shard's own hourly counts. Belongs in a worker thread.

    A subject needs as many devices as a shared pattern: if K were enough, K - 1 accomplices would
    learn whether anybody else watches it. A genre has them when so many devices watched it within
    one hour, and so has a content item where all known devices have one origin. Any other content
    item needs `Table.has_support`.
    """
    contents, content_counts = _read_window(table, ring, TermKind.CONTENT, now_hour)
    genres, genre_counts = _read_window(table, ring, TermKind.GENRE, now_hour)
    if not len(contents):
        return []
    least = table.groups.min_members
    eligible = table.has_support(contents, least)
    if table.standing.require_origins(least) == 1:
        eligible |= content_counts.max(axis=0) >= least
    genre_limit = rules.trend_limit // _GENRE_SHARE
    is_watched = genre_counts.max(axis=0) >= least
    by_genre = _rank(genre_counts, is_watched, rules, genre_limit)
    by_content = _rank(content_counts, eligible, rules, rules.trend_limit - len(by_genre))
    text = table.vocabulary.text
    return [
        Trend(text(TermKind.CONTENT, int(contents[i])), "", score, direction, popularity)
        for i, score, direction, popularity in by_content
    ] + [
        Trend("", text(TermKind.GENRE, int(genres[i])), score, direction, popularity)
        for i, score, direction, popularity in by_genre
    ]


def _read_window(
    table: Table, ring: HourlyRing, kind: TermKind, now_hour: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    return ring.window(kind, now_hour, table.vocabulary.count(kind))


def _rank(
    counts: NDArray[np.float64], eligible: NDArray[np.bool_], rules: Rules, limit: int
) -> list[tuple[int, float, Direction, float]]:
    return rank_trends(counts, eligible, rules.trend_decay_rate, rules.k_anonymity, limit)
