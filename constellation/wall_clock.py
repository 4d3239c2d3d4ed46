"""The clock of the machine, as far as stored times reach: seconds since 1970 in 32 bits."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Final

from constellation.errors import ConfigError

MAX_SECONDS: Final = 2**32 - 1
"""The last second that a row or a message can carry: 2106-02-07 06:28:15 UTC."""


def read_clock() -> float:
    """Return the seconds since 1970, at most MAX_SECONDS and at least 0.

    A clock that leaves this range while a process runs is wrong. Its times then stop at the limit,
    where they can still be stored and compared, and a device that syncs is never found silent.
    """
    return min(max(time.time(), 0.0), float(MAX_SECONDS))


def require_plausible_clock() -> None:
    """Raise ConfigError when the clock is outside the range of stored times."""
    now = time.time()
    if not 0 <= now <= MAX_SECONDS:
        last = datetime.fromtimestamp(MAX_SECONDS, UTC)
        raise ConfigError(
            f"the clock of this machine says {now:.0f} seconds since 1970, but times can be stored "
            f"only from 0 to {MAX_SECONDS} ({last:%Y-%m-%d}): correct the clock"
        )
