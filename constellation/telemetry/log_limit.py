"""LogLimit: how many lines of one event are logged, so that a stranger cannot fill a disk."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from structlog.typing import EventDict

BURST: Final = 100
"""Lines of one event that may come at once."""
RATE_PER_SECOND: Final = 10.0
"""Lines of one event in the long run."""
_MAX_EVENTS: Final = 1000
_OTHERS: Final = "(other events)"


@dataclass(slots=True)
class _Bucket:
    tokens: float
    refilled_at: float
    suppressed: int = 0


class LogLimit:
    """Drops lines of an event that comes too often, of structlog and of Python's logging.

    The next line of that event that passes says how many were dropped, as `suppressed`. A token
    bucket for each event: what somebody outside can cause, a malformed request for instance, is
    logged, but at a bounded rate.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self._lock = threading.Lock()

    def __call__(self, _: object, __: str, line: EventDict) -> EventDict:
        """Pass a line of structlog on, or drop it; a processor."""
        suppressed = self.admit(str(line.get("event")))
        if suppressed is None:
            raise structlog.DropEvent
        return {**line, "suppressed": suppressed} if suppressed else line

    def filter(self, record: logging.LogRecord) -> bool:
        """Pass a record of Python's logging on, or drop it; a filter of a handler.

        Its event is its format, without what fills it.
        """
        suppressed = self.admit(str(record.msg))
        if suppressed:
            record.suppressed = suppressed
        return suppressed is not None

    def admit(self, event: str) -> int | None:
        """Return how many lines were dropped since the last one; None to drop this one."""
        with self._lock:
            bucket = self._find_bucket(event)
            now = self._clock()
            refill = (now - bucket.refilled_at) * RATE_PER_SECOND
            bucket.tokens = min(float(BURST), bucket.tokens + refill)
            bucket.refilled_at = now
            if bucket.tokens < 1:
                bucket.suppressed += 1
                return None
            bucket.tokens -= 1
            suppressed, bucket.suppressed = bucket.suppressed, 0
        return suppressed

    def _find_bucket(self, event: str) -> _Bucket:
        if event not in self._buckets and len(self._buckets) >= _MAX_EVENTS:
            event = _OTHERS
        return self._buckets.setdefault(event, _Bucket(BURST, self._clock()))
