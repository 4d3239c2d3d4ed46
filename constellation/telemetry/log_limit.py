"""LogLimit: how many lines of one event are logged, so that a stranger cannot fill a disk."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
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
    """A processor of structlog that drops lines of an event that comes too often.

    The next line of that event that passes says how many were dropped, as `suppressed`. A token
    bucket for each event: what somebody outside can cause, a malformed request for instance, is
    logged, but at a bounded rate.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self._lock = threading.Lock()

    def __call__(self, _: object, __: str, line: EventDict) -> EventDict:
        record = line.get("_record")  # of Python's logging: its format, not what fills it
        event = str(record.msg if record is not None else line.get("event"))
        with self._lock:
            bucket = self._find_bucket(event)
            now = self._clock()
            refill = (now - bucket.refilled_at) * RATE_PER_SECOND
            bucket.tokens = min(float(BURST), bucket.tokens + refill)
            bucket.refilled_at = now
            if bucket.tokens < 1:
                bucket.suppressed += 1
                raise structlog.DropEvent
            bucket.tokens -= 1
            suppressed, bucket.suppressed = bucket.suppressed, 0
        return {**line, "suppressed": suppressed} if suppressed else line

    def _find_bucket(self, event: str) -> _Bucket:
        if event not in self._buckets and len(self._buckets) >= _MAX_EVENTS:
            event = _OTHERS
        return self._buckets.setdefault(event, _Bucket(BURST, self._clock()))
