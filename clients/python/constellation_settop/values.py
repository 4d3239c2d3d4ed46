"""The values a device works with: views, patterns, and what other devices learned."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from constellation_settop.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SECONDS_PER_HOUR: Final = 3600
MAX_TIMESTAMP: Final = 2**32 - 1
"""Times are uint32 on the wire."""
_SATURDAY_INDEX: Final = 5

Embedding = NDArray[np.float32]
"""Shape (DIMENSION,), unit length."""


class TimeOfDay(IntEnum):
    """The part of the household's day; the numbers are those of the .proto."""

    ANY = 0
    MORNING = 1
    AFTERNOON = 2
    EVENING = 3
    NIGHT = 4


class DayType(IntEnum):
    """The kind of day."""

    ANY = 0
    WEEKDAY = 1
    WEEKEND = 2


class ContentType(IntEnum):
    """What kind of content it is."""

    ANY = 0
    MOVIE = 1
    EPISODE = 2
    LIVE = 3
    CLIP = 4


_MORNING_HOUR, _AFTERNOON_HOUR, _EVENING_HOUR, _NIGHT_HOUR = 5, 12, 17, 22


@dataclass(frozen=True, slots=True)
class Context:
    """When something is watched."""

    time_of_day: TimeOfDay = TimeOfDay.ANY
    day_type: DayType = DayType.ANY

    @classmethod
    def from_datetime(cls, moment: datetime) -> Context:
        """Return the context of a moment in the household's own time zone."""
        is_weekend = moment.weekday() >= _SATURDAY_INDEX
        return cls(_to_time_of_day(moment.hour), DayType.WEEKEND if is_weekend else DayType.WEEKDAY)


def _to_time_of_day(hour: int) -> TimeOfDay:
    if hour < _MORNING_HOUR or hour >= _NIGHT_HOUR:
        return TimeOfDay.NIGHT
    if hour < _AFTERNOON_HOUR:
        return TimeOfDay.MORNING
    return TimeOfDay.AFTERNOON if hour < _EVENING_HOUR else TimeOfDay.EVENING


@dataclass(frozen=True, slots=True)
class View:
    """Somebody watched something. It never leaves the device."""

    content_id: str
    watch_percentage: float
    """From 0 to 1."""
    engagement: float = 0.0
    """From 0 to 1: pausing to look, asking for more, coming back."""
    watched_at: datetime | float | None = None
    """A datetime with a time zone, or seconds since 1970; None is now."""
    context: Context | None = None
    """None derives it from `at`."""


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """What a device learned about one taste of its household."""

    pattern_id: bytes
    embedding: Embedding
    success_rate: float
    sample_count: int
    time_of_day: TimeOfDay = TimeOfDay.ANY
    day_type: DayType = DayType.ANY
    content_type: ContentType = ContentType.ANY
    genres: tuple[str, ...] = ()
    """At most 8."""
    content_ids: tuple[str, ...] = ()
    """At most 16 contents it was learned from, the newest last."""
    created_at: int = 0
    """Seconds since 1970."""
    updated_at: int = 0


@dataclass(frozen=True, slots=True)
class Signal:
    """This content was watched with success in this hour."""

    content_id: str
    hour: int
    """Hours since 1970, UTC."""


@dataclass(frozen=True, slots=True)
class LearnedPattern:
    """An own pattern, and what the learner must remember to go on with it."""

    pattern: Pattern
    learner_state: bytes = b""


@dataclass(frozen=True, slots=True)
class LocalChanges:
    """What the device learned since the last delta."""

    learned_patterns: Sequence[LearnedPattern] = ()
    """New or changed patterns, whatever their quality."""
    forgotten_ids: Sequence[bytes] = ()
    """Ids of patterns that no longer exist."""
    signals: Sequence[Signal] = ()
    """In the order of their hours."""
    watched_ids: Sequence[str] = ()
    """Contents not to recommend again; stays on the device."""

    def __bool__(self) -> bool:
        return bool(self.learned_patterns or self.forgotten_ids or self.signals or self.watched_ids)


@dataclass(frozen=True, slots=True)
class SimilarPattern:
    """A pattern of another device, and its cosine with the nearest own one."""

    pattern: Pattern
    similarity: float


@dataclass(frozen=True, slots=True)
class Cluster:
    """A taste that many devices of several shards share, as a federation published it."""

    pattern: Pattern
    """The centroid, and the contents and genres that its devices' patterns name most; the id names
    one revision of the cluster."""
    devices: int
    """Distinct devices behind it."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a trend is about: a content, or else a genre."""

    name: str
    is_genre: bool = False


class Scope(IntEnum):
    """Where a trend holds."""

    UNKNOWN = 0
    REGIONAL = 1
    GLOBAL = 2


class Direction(IntEnum):
    """Where a trend is going."""

    UNKNOWN = 0
    RISING = 1
    PEAKING = 2
    FALLING = 3


@dataclass(frozen=True, slots=True)
class Trend:
    """A content, or a genre, that many devices watch."""

    subject: Subject
    score: float
    """Larger is stronger."""
    region: str = ""
    scope: Scope = Scope.UNKNOWN
    direction: Direction = Direction.UNKNOWN
    popularity: float = 0.0


@dataclass(frozen=True, slots=True)
class Version:
    """Names one global state; 0, 0 is none."""

    generation: int = 0
    version: int = 0


@dataclass(frozen=True, slots=True)
class GlobalState:
    """What other households' devices learned, as this device holds it."""

    version: Version = field(default_factory=Version)
    similar: Mapping[bytes, SimilarPattern] = field(default_factory=dict)
    """By pseudonym."""
    trends: Mapping[Subject, Trend] = field(default_factory=dict)
    clusters: Mapping[bytes, Cluster] = field(default_factory=dict)
    """By id."""


def to_datetime(timestamp: datetime | float | None, now: float) -> datetime:
    """Return a moment with a time zone: the datetime's own, or the machine's for seconds."""
    try:
        if isinstance(timestamp, datetime):
            moment = timestamp if timestamp.tzinfo else timestamp.astimezone()
        else:
            moment = datetime.fromtimestamp(
                now if timestamp is None else timestamp, UTC
            ).astimezone()
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidArgumentError(
            f"at must be a moment in seconds since 1970, got {timestamp}"
        ) from error
    if not 0 <= moment.timestamp() <= MAX_TIMESTAMP:
        raise InvalidArgumentError(f"at must be from 1970 to 2106, got {timestamp}")
    return moment
