"""Connections of REST: those without a request have a limit of their own, in number and in time."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_SECONDS: Final = 10.0
"""A connection that has sent no whole request after this time is closed."""
_FLUSH_SECONDS: Final = 1.0
"""How long the rest of an answer may take once its connection is being closed."""
MAX_WAITING: Final = 128
"""Connections without a whole request; one more closes the one that has waited longest."""


class WaitingConnections:
    """The connections of one listener that wait for a whole request, the oldest first."""

    def __init__(self, *, limit: int = MAX_WAITING, seconds: float = REQUEST_SECONDS) -> None:
        self._limit = limit
        self._seconds = seconds
        self._waiting: dict[_Connection, asyncio.TimerHandle] = {}

    def make_protocol(self, *args: Any, **more: Any) -> H11Protocol:
        """Make the protocol of one connection; uvicorn calls it."""
        return _Connection(self, *args, **more)

    def add(self, connection: _Connection) -> None:
        """Start waiting for a connection's next request."""
        if connection in self._waiting:
            return
        if len(self._waiting) >= self._limit:
            next(iter(self._waiting)).close()
        timer = asyncio.get_running_loop().call_later(self._seconds, connection.close)
        self._waiting[connection] = timer

    def remove(self, connection: _Connection) -> None:
        """Stop waiting: the request is whole, or the connection has ended."""
        if timer := self._waiting.pop(connection, None):
            timer.cancel()


class _Connection(H11Protocol):
    """One connection, which reports when it waits for a request and when it has one."""

    def __init__(self, waiting: WaitingConnections, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._waiting = waiting

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._waiting.add(self)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        cycle: Any = self.cycle
        if cycle is not None and not cycle.more_body and not cycle.response_complete:
            self._waiting.remove(self)

    def on_response_complete(self) -> None:
        super().on_response_complete()  # this may begin with a request that was sent ahead
        cycle: Any = self.cycle
        if not self.transport.is_closing() and (cycle.response_complete or cycle.more_body):
            self._waiting.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._waiting.remove(self)
        super().connection_lost(exc)

    def close(self) -> None:
        """End the connection: at once, or within a second if an answer is still being sent."""
        self._waiting.remove(self)
        if self.transport.get_write_buffer_size():
            asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self.transport.abort)
            self.transport.close()
        else:
            self.transport.abort()
