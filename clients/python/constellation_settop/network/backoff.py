"""When to connect again after a failure, and when to stop using streams for a while."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from random import Random

log = logging.getLogger("constellation_settop")

_MAX_DOUBLINGS: Final = 32
LOST_STREAMS_BEFORE_EXCHANGES: Final = 3
"""Streams that must break in a row before an exchange is tried."""
EXCHANGE_PERIOD_SECONDS: Final = 3600.0
"""How long exchanges are used before a stream is tried again."""


class Backoff:
    """Delays between attempts: full jitter below a ceiling that doubles with each failure.

    The n-th failure in a row, counted from 0, gets a delay from [0, min(cap, base * 2^n)].
    Algorithm: "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
    """

    def __init__(self, base_seconds: float, cap_seconds: float, random: Random) -> None:
        self._base_seconds = base_seconds
        self._cap_seconds = cap_seconds
        self._random = random
        self._failures = 0

    def next_seconds(self) -> float:
        """Count a failure and return the delay before the next attempt."""
        ceiling = min(self._cap_seconds, self._base_seconds * 2**self._failures)
        self._failures = min(self._failures + 1, _MAX_DOUBLINGS)
        return self._random.uniform(0, ceiling)

    def reset(self) -> None:
        """Forget all failures. Call it after progress; a mere Welcome proves too little."""
        self._failures = 0


class ExchangeFallback:
    """Decides when exchanges replace the stream: some networks break streams only.

    It counts streams that broke before their Welcome although there was a connection. After several
    in a row, one exchange is tried. Only if it succeeds is the network to blame: a shard that has
    too much to do answers neither.
    """

    def __init__(self) -> None:
        self._lost_streams = 0
        self._exchange_until = 0.0

    def is_active(self, now: float) -> bool:
        """Return whether to use exchanges now."""
        return now < self._exchange_until or self._lost_streams >= LOST_STREAMS_BEFORE_EXCHANGES

    def reset(self) -> None:
        """Forget lost streams. Call it after a Welcome, and when there is no connection."""
        self._lost_streams = 0

    def record_lost_stream(self) -> None:
        """Count a stream that broke before its Welcome without an answer from the shard."""
        self._lost_streams += 1

    def begin_exchange(self) -> bool:
        """Return whether the exchange that begins decides about those that follow."""
        is_trial = self._lost_streams >= LOST_STREAMS_BEFORE_EXCHANGES
        self._lost_streams = 0
        return is_trial

    def use_exchanges(self, now: float) -> None:
        """Use exchanges for a while: one has succeeded where streams break."""
        log.info("streams break here; single calls are used for %d s", EXCHANGE_PERIOD_SECONDS)
        self._exchange_until = now + EXCHANGE_PERIOD_SECONDS
