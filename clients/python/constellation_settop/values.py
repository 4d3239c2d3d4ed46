"""The values that a device works with: views, patterns and the global state."""

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
SIGNALS_PER_HOUR: Final = 4
"""The most signals that a device records for one hour."""
TREND_WINDOW_HOURS: Final = 168
"""Hours that trends are computed from: one week. Older signals no longer count."""
MAX_SIGNALS: Final = SIGNALS_PER_HOUR * TREND_WINDOW_HOURS
"""The most signals that wait on a device, or travel in one delta: a full trend window of them."""
MAX_TIMESTAMP: Final = 2**32 - 1
"""The latest time in seconds since 1970, because times are uint32 on the wire."""
MAX_OPINION: Final = 64
"""The opinion of a household on a content item that it liked in full; the worst is its negative."""
DEFAULT_PROFILE: Final = ""
"""The name of the profile that every device has."""
_SATURDAY_INDEX: Final = 5

Embedding = NDArray[np.float32]
"""One embedding: shape (384,), unit length."""


class TimeOfDay(IntEnum):
    """The part of the day in the household's time zone. The numbers are those of the API."""

    ANY = 0
    """Unknown, or no particular part of the day."""
    MORNING = 1
    """From 5:00 to 11:59."""
    AFTERNOON = 2
    """From 12:00 to 16:59."""
    EVENING = 3
    """From 17:00 to 21:59."""
    NIGHT = 4
    """From 22:00 to 4:59."""


class DayType(IntEnum):
    """The kind of day. The numbers are those of the API."""

    ANY = 0
    """Unknown, or no particular kind of day."""
    WEEKDAY = 1
    """Monday to Friday."""
    WEEKEND = 2
    """Saturday or Sunday."""


class ContentType(IntEnum):
    """The kind of a content item. The numbers are those of the API."""

    ANY = 0
    MOVIE = 1
    EPISODE = 2
    LIVE = 3
    CLIP = 4


_MORNING_HOUR, _AFTERNOON_HOUR, _EVENING_HOUR, _NIGHT_HOUR = 5, 12, 17, 22


@dataclass(frozen=True, slots=True)
class Context:
    """When something is watched.

    Example: `Context(TimeOfDay.EVENING, DayType.WEEKDAY)`, or `Context.from_datetime(now)`.
    """

    time_of_day: TimeOfDay = TimeOfDay.ANY
    day_type: DayType = DayType.ANY

    @classmethod
    def from_datetime(cls, moment: datetime) -> Context:
        """Return the context of a moment that is given in the household's own time zone."""
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
    """One viewing of one content item by the household. It never leaves the device."""

    content_id: str
    watch_percentage: float
    """Share of the content item that was watched, from 0 to 1."""
    engagement: float | None = None
    """Other signs of interest, such as pausing to look or coming back, from 0 to 1.

    None means unknown: then the watched share alone decides.
    """
    watched_at: datetime | float | None = None
    """A datetime, or seconds since 1970. None means now.

    A datetime without a time zone is taken to be in the machine's time zone.
    """
    context: Context | None = None
    """None means that the context is derived from `watched_at`."""


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """One taste of a household, as a device learned it."""

    pattern_id: bytes
    """16 bytes, random for a pattern of this device."""
    embedding: Embedding
    """Shape (384,), unit length."""
    success_rate: float
    """Share of its views that were successful, from 0 to 1."""
    sample_count: int
    """Views that the pattern was learned from; devices, for the centroid of a cluster."""
    time_of_day: TimeOfDay = TimeOfDay.ANY
    day_type: DayType = DayType.ANY
    content_type: ContentType = ContentType.ANY
    genres: tuple[str, ...] = ()
    """At most 8 genres, the most frequent first."""
    content_ids: tuple[str, ...] = ()
    """At most 16 content items that it was learned from, the newest last."""
    created_at: int = 0
    """Time of its first view, in seconds since 1970."""
    updated_at: int = 0
    """Time of its newest view, in seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Signal:
    """A record that a content item was watched successfully in one hour."""

    content_id: str
    hour: int
    """Hours since 1970, in UTC."""


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """What the household thought of one content item when it last watched it.

    The history stays on the device.
    """

    content_id: str
    opinion: int
    """From -64 to 64: positive when it was liked, negative when it was disliked."""
    watched_at: int
    """Seconds since 1970."""
    time_of_day: TimeOfDay = TimeOfDay.ANY
    day_type: DayType = DayType.ANY


@dataclass(frozen=True, slots=True)
class LearnedPattern:
    """A pattern of this device, with the state that the learner needs to continue it."""

    pattern: Pattern
    learner_state: bytes = b""
    """Opaque bytes. When empty, the learner estimates its state from the pattern."""


@dataclass(frozen=True, slots=True)
class LocalChanges:
    """What a device learned since its last delta."""

    learned_patterns: Sequence[LearnedPattern] = ()
    """New or changed patterns of any quality, those too poor to share included."""
    forgotten_ids: Sequence[bytes] = ()
    """Ids of patterns that no longer exist, 16 bytes each."""
    signals: Sequence[Signal] = ()
    """In ascending order of their hours."""
    watched_ids: Sequence[str] = ()
    """Content items not to recommend again. They stay on the device."""
    history: Sequence[HistoryEntry] = ()
    """New and changed entries, the newest last. They stay on the device."""
    withdrawn_ids: Sequence[str] = ()
    """Content items that the household liked once and does not any more."""
    profile: str = DEFAULT_PROFILE
    """The profile that learned it. Its name stays on the device."""

    def __bool__(self) -> bool:
        return any(
            (
                self.learned_patterns,
                self.forgotten_ids,
                self.signals,
                self.watched_ids,
                self.history,
                self.withdrawn_ids,
            )
        )


@dataclass(frozen=True, slots=True)
class SimilarPattern:
    """A pattern of another device that resembles a pattern of this one."""

    pattern: Pattern
    similarity: float
    """Cosine with the nearest pattern of this device, from -1 to 1."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A taste that many devices share across shards, as a federation published it."""

    pattern: Pattern
    """The centroid, with the content items and genres that its devices' patterns name most.

    Its id names one revision of the cluster.
    """
    devices: int
    """Distinct devices whose patterns belong to it."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a trend is about: one content item or one genre."""

    name: str
    """A content id, or the genre's name."""
    is_genre: bool = False


class Scope(IntEnum):
    """Where a trend applies. The numbers are those of the API."""

    UNKNOWN = 0
    REGIONAL = 1
    GLOBAL = 2


class Direction(IntEnum):
    """How a trend develops. The numbers are those of the API."""

    UNKNOWN = 0
    RISING = 1
    PEAKING = 2
    FALLING = 3


@dataclass(frozen=True, slots=True)
class Trend:
    """A content item or a genre that many devices watch now."""

    subject: Subject
    score: float
    """Larger is stronger. Scores are comparable within one global state."""
    region: str = ""
    """The region that the trend was observed in, or "" when unknown."""
    scope: Scope = Scope.UNKNOWN
    direction: Direction = Direction.UNKNOWN
    popularity: float = 0.0
    """Distinct devices in the window, summed over hours and halved every 13.5 hours."""


@dataclass(frozen=True, slots=True)
class RelatedRow:
    """The content items that households who liked one content item liked as well."""

    content_id: str
    """The content item that this row belongs to."""
    neighbours: tuple[str, ...]
    """From 1 to 64 content items, those with the largest weights first."""
    weights: bytes
    """The weight of each neighbour, one int8 each, in units of 2**-shift."""
    shift: int
    """From 0 to 30."""


@dataclass(frozen=True, slots=True)
class PopularContents:
    """The content items that most households of a region like, or of all regions."""

    region: str
    """The region; "" for all regions together."""
    content_ids: tuple[str, ...]
    """At most 200, those with the most households first."""
    households: tuple[int, ...]
    """How many households like each of `content_ids`."""


@dataclass(frozen=True, slots=True)
class Version:
    """The name of one global state. Generation 0 with version 0 means that there is none."""

    generation: int = 0
    version: int = 0


@dataclass(frozen=True, slots=True)
class GlobalState:
    """What other households' devices learned: this device's copy."""

    version: Version = field(default_factory=Version)
    similar: Mapping[bytes, SimilarPattern] = field(default_factory=dict)
    """By pseudonym, which is 16 bytes and replaces the pattern's own id."""
    trends: Mapping[Subject, Trend] = field(default_factory=dict)
    """By subject."""
    clusters: Mapping[bytes, Cluster] = field(default_factory=dict)
    """By cluster id, 16 bytes."""
    related: Mapping[bytes, RelatedRow] = field(default_factory=dict)
    """By the id of the row's revision, 16 bytes."""
    popular: Mapping[bytes, PopularContents] = field(default_factory=dict)
    """By the id of the list's revision, 16 bytes."""


def to_datetime(timestamp: datetime | float | None, now: float) -> datetime:
    """Return a moment with a time zone; None means `now`, in seconds since 1970.

    A datetime keeps its time zone. Seconds, and a datetime without a zone, get the machine's.
    Raises InvalidArgumentError for a moment before 1970 or after the year 2106.
    """
    try:
        if isinstance(timestamp, datetime):
            moment = timestamp if timestamp.tzinfo else timestamp.astimezone()
        else:
            moment = datetime.fromtimestamp(
                now if timestamp is None else timestamp, UTC
            ).astimezone()
    except (TypeError, ValueError, OverflowError, OSError) as error:
        raise InvalidArgumentError(
            f"watched_at must be a datetime or seconds since 1970, got {timestamp!r}; "
            "give seconds, not milliseconds"
        ) from error
    if not 0 <= moment.timestamp() <= MAX_TIMESTAMP:
        raise InvalidArgumentError(
            f"watched_at must be from 1970 to 2106, got {timestamp}; give seconds, not milliseconds"
        )
    return moment
