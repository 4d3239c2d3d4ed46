"""How a device stays in step with its shard."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc


@dataclass(frozen=True, kw_only=True)
class SyncSettings:
    """How to stay in step."""

    stay_connected: bool = True
    """Keep a stream open; else connect, push, pull and leave at the shard's interval."""
    backoff_base_seconds: float = 1.0
    backoff_cap_seconds: float = 300.0
    close_timeout_seconds: float = 2.0
    """How long closing may wait for the acks of what is in flight."""
    credential: str | None = field(default=None, repr=False)
    """Sent as a bearer token."""
    tls: grpc.ChannelCredentials | None = None
    """None is a connection in clear text."""
    on_ack: Callable[[int, float], None] | None = None
    """Called with seq, and seconds from the frame to its ack."""
    traceparent: Callable[[], str | None] = lambda: None
    """Called once for each connection: W3C Trace Context, for hosts that trace what they do."""
    random: Random = field(default_factory=Random)
