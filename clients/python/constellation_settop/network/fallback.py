"""When to give up on streams, for a while: some networks break them and let unary calls pass."""

from __future__ import annotations

import logging
from typing import Final

log = logging.getLogger("constellation_settop")

LOST_STREAMS_BEFORE_UNARY: Final = 3
UNARY_PERIOD_SECONDS: Final = 3600.0


class UnaryFallback:
    """Counts streams that died before their Welcome although there was a connection."""

    def __init__(self) -> None:
        self._lost_streams = 0
        self._unary_until = 0.0

    def is_active(self, now: float) -> bool:
        """Tell whether to use the unary twins now."""
        return now < self._unary_until

    def reset(self) -> None:
        self._lost_streams = 0

    def record_lost_stream(self, now: float) -> None:
        """Count a stream that died without a Welcome, and without a word of the shard."""
        self._lost_streams += 1
        if self._lost_streams >= LOST_STREAMS_BEFORE_UNARY:
            log.info("streams do not work here; using unary calls for %d s", UNARY_PERIOD_SECONDS)
            self._lost_streams = 0
            self._unary_until = now + UNARY_PERIOD_SECONDS
