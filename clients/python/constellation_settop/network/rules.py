"""What a device accepts from a server: whatever is beyond these limits ends the session."""

from __future__ import annotations

import math
import re
from collections import deque
from typing import TYPE_CHECKING, Final

from constellation.encoding import ID_BYTES
from constellation.v1 import patterns_pb2

if TYPE_CHECKING:
    from constellation.v1 import sync_pb2 as pb

MAX_SEQ: Final = 2**62
"""Numbers of deltas stay below this: the file's integers have 63 bits."""
MAX_SEQ_JUMP: Final = 2**20
"""Numbers that a shard can make a device skip. A shard takes no snapshot that skips more either."""
MAX_PATTERNS_PER_DELTA: Final = 4096
"""Upserts and removals that a device puts into one delta, however many a shard would take."""
MAX_DELAY_SECONDS: Final = 3600.0
"""The longest delay that a shard can impose, so that a mistake of a shard does not last."""
MAX_RESYNCS: Final = 8
"""Times that a shard may ask for everything again in one session."""
MAX_UPDATES: Final = 600
"""Global updates in UPDATE_PERIOD_SECONDS. Each is a write to the device's file."""
UPDATE_PERIOD_SECONDS: Final = 60.0
MAX_UNSENT_FRAMES: Final = 64
"""Answers that may wait because the shard does not read them."""
MAX_SHARDS: Final = 4096
"""A larger shard map is not used: finding the owner in it takes too long."""
_ADDRESS: Final = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253}):[0-9]{1,5}")


class BrokenShardError(ValueError):
    """The server sent something that no shard sends. The session ends, and the device retries."""


def check_welcome(welcome: pb.Welcome) -> None:
    """Raise BrokenShardError for rules that a device cannot follow."""
    threshold = welcome.quality_threshold
    if not 0 <= threshold <= 1:
        raise BrokenShardError(f"quality_threshold must be from 0 to 1, got {threshold:g}")


def check_ack(ack: patterns_pb2.DeltaAck) -> None:
    """Raise BrokenShardError for an ack that cannot be of a device's deltas."""
    _check_seq("through_seq", ack.through_seq)
    for rejected in ack.rejected:
        _check_seq("rejected.seq", rejected.seq)
        if len(rejected.pattern_id) != ID_BYTES:
            size = len(rejected.pattern_id)
            raise BrokenShardError(f"rejected.pattern_id must be {ID_BYTES} bytes, got {size}")


def describe_rejection(reason: int) -> str:
    """Return the reason of a rejection in words, such as "below quality"."""
    prefix, known = "REJECTION_REASON_", patterns_pb2.RejectionReason
    if reason not in known.values():
        return "a reason that this version does not know"
    name = known.Name(patterns_pb2.RejectionReason.ValueType(reason))
    return name.removeprefix(prefix).lower().replace("_", " ")


def is_reachable(expected_seq: int, next_seq: int) -> bool:
    """Return whether a device whose next delta is `next_seq` may go on at `expected_seq`.

    A shard expects a later number when the device lost its newest deltas. It expects an absurd one
    when somebody else wrote in the device's name. Following it would use up the numbers.
    """
    return expected_seq <= min(next_seq + MAX_SEQ_JUMP, MAX_SEQ)


def is_address(text: str) -> bool:
    """Return whether a text is "host:port". Everything else may mean anything to gRPC."""
    return _ADDRESS.fullmatch(text) is not None


def clamp_delay(seconds: float) -> float:
    """Return a delay that a shard asked for, from 0 to MAX_DELAY_SECONDS."""
    return min(max(0.0, seconds), MAX_DELAY_SECONDS) if math.isfinite(seconds) else 0.0


class UpdateRate:
    """Notices a shard that sends global updates without end."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def record(self, now: float) -> None:
        """Count an update; raise BrokenShardError when there were too many."""
        self._times.append(now)
        while now - self._times[0] > UPDATE_PERIOD_SECONDS:
            self._times.popleft()
        if len(self._times) > MAX_UPDATES:
            raise BrokenShardError(
                f"more than {MAX_UPDATES} global updates in {UPDATE_PERIOD_SECONDS:g} s"
            )


def _check_seq(name: str, seq: int) -> None:
    if seq >= MAX_SEQ:
        raise BrokenShardError(f"{name} must be below 2**62, got {seq}")
