"""When to give up on streams, for a while: some networks break them and let unary calls pass."""

from __future__ import annotations

import logging
from typing import Final

log = logging.getLogger("constellation_settop")

STREAMS_BEFORE_UNARY: Final = 3
UNARY_SECONDS: Final = 3600.0


class Fallback:
    """Counts streams that died before their Welcome although there was a connection."""

    def __init__(self) -> None:
        self._lost = 0
        self._unary_until = 0.0

    def unary(self, now: float) -> bool:
        """Tell whether to use the unary twins now."""
        return now < self._unary_until

    def welcomed(self) -> None:
        self._lost = 0

    def stream_died(self, now: float) -> None:
        """Count a stream that died without a Welcome, and without a word of the shard."""
        self._lost += 1
        if self._lost >= STREAMS_BEFORE_UNARY:
            log.info("streams do not work here; using unary calls for %d s", UNARY_SECONDS)
            self._lost = 0
            self._unary_until = now + UNARY_SECONDS
