"""Signals that wait to be shared: which content was watched with success in which hour."""

from __future__ import annotations

from typing import TYPE_CHECKING

from constellation_settop.values import MAX_SIGNALS, SIGNALS_PER_HOUR, Signal

if TYPE_CHECKING:
    from collections.abc import Iterable


class SignalQueue:
    """At most SIGNALS_PER_HOUR signals for each hour, and MAX_SIGNALS of them in all."""

    def __init__(self, counts: dict[int, int] | None = None) -> None:
        """Begin without signals. `counts` has how many each hour has, for all profiles together."""
        self._pending: dict[Signal, None] = {}
        self._counts: dict[int, int] = {} if counts is None else counts

    def make_sibling(self) -> SignalQueue:
        """Return the queue of another profile: the bound of an hour holds for both together."""
        return SignalQueue(self._counts)

    def record(self, signal: Signal) -> None:
        """Add a signal, unless it is pending already or its hour has enough."""
        if signal in self._pending or self._counts.get(signal.hour, 0) >= SIGNALS_PER_HOUR:
            return
        self._pending[signal] = None
        self._counts[signal.hour] = self._counts.get(signal.hour, 0) + 1
        if len(self._pending) > MAX_SIGNALS:
            del self._pending[next(iter(self._pending))]
        if len(self._counts) > MAX_SIGNALS:
            del self._counts[min(self._counts)]

    def remove(self, content_id: str) -> None:
        """Drop the pending signals of a content item."""
        for signal in [each for each in self._pending if each.content_id == content_id]:
            del self._pending[signal]

    def clear(self) -> None:
        """Drop every pending signal."""
        self._pending.clear()

    def take(self) -> list[Signal]:
        """Return the pending signals in ascending order of their hours; none is pending then."""
        signals, self._pending = self._pending, {}
        return sorted(signals, key=lambda signal: signal.hour)

    def restore(self, signals: Iterable[Signal]) -> None:
        """Take back signals that could not be saved."""
        self._pending = dict.fromkeys(signals) | self._pending
