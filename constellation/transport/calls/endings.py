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
_SWEEP_SECONDS: Final = 0.5
"""How often calls that take too long are looked for, and their connections, which looks at every
open file."""
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
        self._ending: dict[Any, float] = {}
        """By context of a call that has not ended: the loop time at which its handler has."""
        self._now = asyncio.get_running_loop().time

    def watch(self, context: Any) -> None:
        """Close the connection of a call, unless the call ends soon."""
        self._ending[context] = self._now()
        context.add_done_callback(self._forget)

    async def close_forever(self) -> None:
        """Close the connections of calls that did not end. Runs until cancelled."""
        pauses = PauseWatch(longest_delay=_SWEEP_SECONDS)
        while True:
            if await pauses.sleep(_SWEEP_SECONDS):
                continue  # ends that came during the pause are read before anybody is judged
            if peers := self._take_overdue():
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

    def _forget(self, context: Any) -> None:
        self._ending.pop(context, None)

    def _take_overdue(self) -> set[Peer]:
        """Return the connections to close, and watch their calls no longer."""
        overdue: set[Peer] = set()
        latest = self._now() - self._ending_seconds
        for context, since in list(self._ending.items()):
            if since > latest:
                break  # those that follow began to end later
            del self._ending[context]
            peer = to_peer(context.peer())
            if peer is not None and self.may_close(context):
                overdue.add(peer)
        return overdue


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
