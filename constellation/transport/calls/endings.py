"""CallEndings: closes the connection of a call that has ended and whose caller does not read it."""

from __future__ import annotations

import asyncio
import os
import socket
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import structlog

from constellation.transport.calls.pauses import PauseWatch
from constellation.transport.calls.peers import FORWARDED, parse_peer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grpc.aio import ServicerContext

    from constellation.transport.calls.peers import IPAddress, IPNetwork

    Peer = tuple[IPAddress, int]
    """Address and port of the other end of a connection."""

ENDING_SECONDS: Final = 3.0
"""How long a call may take to end after its handler has."""
_GATHER_SECONDS: Final = 0.5
"""Connections to close are gathered for this long, because finding them looks at every open
file."""
_OPEN_FILES: Final = Path("/proc/self/fd")
_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)
"""The address of a socket of another kind has another shape: REST's own is bytes."""
log = structlog.get_logger(__name__)


class CallEndings:
    """Watches calls whose handlers have ended.

    A status cannot overtake a message that its caller does not read, so such a call would last for
    as long as its connection. gRPC for Python cannot close one connection: its socket can.
    """

    def __init__(
        self,
        trusted_proxies: Sequence[IPNetwork] = (),
        ending_seconds: float = ENDING_SECONDS,
    ) -> None:
        self._trusted_proxies = trusted_proxies
        self._ending_seconds = ending_seconds
        self._overdue: set[Any] = set()
        """The contexts of calls that did not end in time, and have not ended since."""
        self._has_overdue = asyncio.Event()

    def watch(self, context: Any) -> None:
        """Close the connection of a call, unless the call ends soon."""
        timer = asyncio.get_running_loop().call_later(self._ending_seconds, self._add, context)

        def note_end(_: object) -> None:
            timer.cancel()
            self._overdue.discard(context)

        context.add_done_callback(note_end)

    async def close_forever(self) -> None:
        """Close the connections of calls that did not end. Runs until cancelled."""
        while True:
            await self._has_overdue.wait()
            # After a pause of this process, ends that came meanwhile are read before anybody is
            # judged.
            pauses = PauseWatch(longest_delay=_GATHER_SECONDS)
            while await pauses.sleep(_GATHER_SECONDS):
                pass
            self._has_overdue.clear()
            overdue, self._overdue = self._overdue, set()
            if peers := {peer for each in overdue if (peer := to_peer(each.peer())) is not None}:
                closed = await asyncio.to_thread(close_connections, peers)
                log.info("unread_connections_closed", count=closed)

    def may_close(self, context: ServicerContext[Any, Any]) -> bool:
        """Return whether a connection is the caller's own, and not that of a proxy.

        A proxy has calls of other devices as well, and says for whom it calls. Only on a private
        network may a caller pretend to be one.
        """
        address = parse_peer(context.peer())
        if address is None or any(address in network for network in self._trusted_proxies):
            return False
        is_forwarded = any(key == FORWARDED for key, _ in context.invocation_metadata() or ())
        return address.is_global or not is_forwarded

    def _add(self, context: ServicerContext[Any, Any]) -> None:
        """Note a call that has not ended, so that its connection is closed."""
        if self.may_close(context):
            self._overdue.add(context)
            self._has_overdue.set()


def to_peer(peer: str) -> Peer | None:
    """Return the other end of a connection as gRPC names it; None for a Unix socket."""
    address, port = parse_peer(peer), unquote(peer).rpartition(":")[2]
    return (address, int(port)) if address is not None and port.isdecimal() else None


def close_connections(peers: set[Peer]) -> int:
    """Shut down the TCP connections of this process to these peers, and return how many."""
    closed = 0
    for number in [int(each.name) for each in _OPEN_FILES.iterdir()]:
        if _find_peer(number) not in peers:
            continue
        try:
            # The copy stays the same connection, even if the number goes to another file meanwhile.
            with socket.socket(fileno=os.dup(number)) as connection:
                if _find_peer(connection.fileno()) in peers:
                    connection.shutdown(socket.SHUT_RDWR)
                    closed += 1
        except OSError:
            continue  # closed by itself
    return closed


def _find_peer(number: int) -> Peer | None:
    """Return the other end of an open file; None when it is no connection of TCP."""
    try:
        looked_at = socket.socket(fileno=number)  # finds out which kind of socket it is
    except OSError:
        return None
    try:
        if looked_at.family not in _FAMILIES or looked_at.type != socket.SOCK_STREAM:
            return None
        end = looked_at.getpeername()
    except OSError:
        return None
    finally:
        looked_at.detach()
    address = ip_address(end[0].partition("%")[0])
    mapped: IPAddress | None = getattr(address, "ipv4_mapped", None)
    return mapped or address, end[1]
