"""OriginGuard: how many streams, connects and new devices may come from one lot or one address."""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_network
from typing import TYPE_CHECKING, Final

from constellation.auth.principal import CALLER, CALLER_ADDRESS
from constellation.core.ingest.stats import ShedReason
from constellation.errors import OriginLimitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from ipaddress import IPv6Address

    from constellation.core.ingest.stats import Stats

_MINUTE: Final = 60.0
_HOUR: Final = 3600.0
_MAX_REMEMBERED: Final = 65_536
"""Lots and addresses whose rates are remembered; those without a call for longest are forgotten."""
_SUBSCRIBER_BITS: Final = 64
"""Bits of an IPv6 address that its subscriber does not choose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLimits:
    """The limits for one lot, or for one address; 0 means no limit."""

    streams: int = 0
    """Open at the same time."""
    connects_per_minute: int = 0
    """Streams that begin, and syncs without a stream."""
    new_devices_per_hour: int = 0
    """Devices that the shard does not know."""


@dataclass(frozen=True, slots=True)
class OriginLimits:
    """The limits for each lot and for each address."""

    lot: SourceLimits = field(default_factory=SourceLimits)
    address: SourceLimits = field(default_factory=SourceLimits)


@dataclass(frozen=True, slots=True)
class CallOrigin:
    """The lot and the address of a caller, as far as they are known."""

    lot: str = ""
    address: str = ""
    """An IPv4 address, or the /64 of an IPv6 address, which one subscriber has for itself."""

    @property
    def is_known(self) -> bool:
        """Whether there is anything whose calls could be counted."""
        return bool(self.lot or self.address)


def read_call_origin() -> CallOrigin:
    """Return the origin of the call that the present task serves."""
    address = CALLER_ADDRESS.get()
    return CallOrigin(CALLER.get().lot, "" if address is None else _name_subscriber(address))


def _name_subscriber(address: IPv4Address | IPv6Address) -> str:
    if isinstance(address, IPv4Address):
        return str(address)
    return str(ip_network((address, _SUBSCRIBER_BITS), strict=False))


class OriginGuard:
    """Counts what comes from each lot and each address, and refuses what is beyond its limits.

    A token bucket for each rate admits as many at once as in a whole period.
    """

    def __init__(self, limits: OriginLimits, stats: Stats, now: Callable[[], float]) -> None:
        self._limits = limits
        self._stats = stats
        self._now = now
        self._streams: Counter[tuple[ShedReason, str]] = Counter()
        self._buckets: OrderedDict[tuple[ShedReason, str, float], tuple[float, float]] = (
            OrderedDict()
        )
        """By source and period: what is left, and the time of that."""

    def open_stream(self, origin: CallOrigin) -> None:
        """Count a stream that begins. Raises OriginLimitError when it is one too many."""
        for reason, name, limits in self._find_sources(origin):
            count = self._streams[reason, name]
            if limits.streams and count >= limits.streams:
                raise self._refuse(
                    reason, f"{count} streams of one {_NOUNS[reason]} are open", limits.streams
                )
            self._take_connect(reason, name, limits)
        for reason, name, _ in self._find_sources(origin):
            self._streams[reason, name] += 1

    def close_stream(self, origin: CallOrigin) -> None:
        """Forget a stream that was counted."""
        for reason, name, _ in self._find_sources(origin):
            self._streams[reason, name] -= 1
            if not self._streams[reason, name]:
                del self._streams[reason, name]

    def count_connect(self, origin: CallOrigin) -> None:
        """Count a sync without a stream. Raises OriginLimitError when it is one too many."""
        for reason, name, limits in self._find_sources(origin):
            self._take_connect(reason, name, limits)

    def count_new_device(self, origin: CallOrigin) -> None:
        """Count a device that the shard does not know. Raises OriginLimitError for one too many."""
        for reason, name, limits in self._find_sources(origin):
            self._take(reason, name, limits.new_devices_per_hour, _HOUR, "new devices in an hour")

    def _find_sources(self, origin: CallOrigin) -> Iterator[tuple[ShedReason, str, SourceLimits]]:
        if origin.lot:
            yield ShedReason.LOT, origin.lot, self._limits.lot
        if origin.address:
            yield ShedReason.ADDRESS, origin.address, self._limits.address

    def _take_connect(self, reason: ShedReason, name: str, limits: SourceLimits) -> None:
        self._take(reason, name, limits.connects_per_minute, _MINUTE, "connects in a minute")

    def _take(
        self, reason: ShedReason, name: str, most: int, period_seconds: float, what: str
    ) -> None:
        if not most:
            return
        key, now = (reason, name, period_seconds), self._now()
        left, at = self._buckets.get(key, (float(most), now))
        left = min(float(most), left + (now - at) * most / period_seconds)
        if left < 1:
            raise self._refuse(reason, f"too many {what} from one {_NOUNS[reason]}", most)
        self._buckets[key] = left - 1, now
        self._buckets.move_to_end(key)
        if len(self._buckets) > _MAX_REMEMBERED:
            self._buckets.popitem(last=False)

    def _refuse(self, reason: ShedReason, problem: str, most: int) -> OriginLimitError:
        self._stats.shed[reason] += 1
        return OriginLimitError(f"{problem}, and the most is {most}: try again later")


_NOUNS: Final = {ShedReason.LOT: "production lot", ShedReason.ADDRESS: "address"}
