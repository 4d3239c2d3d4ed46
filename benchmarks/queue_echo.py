"""An echo on grpcio's private completion queue, to see what a transport of our own would save.

`python -m benchmarks.queue_echo` handles the events in the thread that takes them from the queue,
without asyncio. With the word `uvloop`, it hands them to an event loop of that kind, on which a
shard would need them. It prints its port, answers `Sync` as a stream and every other method as one
message, and does nothing else: no interceptor, no deadline, no limit.
"""

from __future__ import annotations

import collections
import importlib
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable

cygrpc: Any = importlib.import_module("grpc._cython.cygrpc")
"""grpcio's private module, for which there are no types."""
_NEW_CALL: Final = object()
_REQUESTED_CALLS: Final = 64
"""Calls that the C core may accept before one of them was handled."""


class EchoServer:
    """A server whose events somebody takes from its queue and hands to `handle`."""

    def __init__(self) -> None:
        self.queue = cygrpc.CompletionQueue()
        self._server = cygrpc.Server((("grpc.so_reuseport", 0),), False)  # noqa: FBT003 - it takes no keyword
        self._server.register_completion_queue(self.queue)
        self.port: int = self._server.add_http2_port(b"127.0.0.1:0")
        self._server.start()
        for _ in range(_REQUESTED_CALLS):
            self._request_call()

    def _request_call(self) -> None:
        self._server.request_call(self.queue, self.queue, _NEW_CALL)

    def handle(self, event: Any) -> None:
        """Do what follows from an event: the tag of every other event is a function."""
        if event.tag is not _NEW_CALL:
            event.tag(event)
            return
        self._request_call()
        event.call.start_server_batch((cygrpc.ReceiveCloseOnServerOperation(0),), _ignore)
        is_stream = event.call_details.method.endswith(b"/Sync")
        _read(event.call, _make_stream_echo(event.call) if is_stream else _make_echo(event.call))


def _ignore(_: Any) -> None:
    """Do nothing: the operations were sent, or the call is over."""


def _read(call: Any, then: Callable[[Any], None]) -> None:
    call.start_server_batch((cygrpc.ReceiveMessageOperation(0),), then)


def _make_echo(call: Any) -> Callable[[Any], None]:
    def answer(event: Any) -> None:
        message = event.batch_operations[0].message()
        operations = (
            cygrpc.SendInitialMetadataOperation((), 0),
            cygrpc.SendMessageOperation(message, 0),
            cygrpc.SendStatusFromServerOperation((), 0, b"", 0),
        )
        call.start_server_batch(operations, _ignore)

    return answer


def _make_stream_echo(call: Any) -> Callable[[Any], None]:
    first = [cygrpc.SendInitialMetadataOperation((), 0)]

    def answer(event: Any) -> None:
        message = event.batch_operations[0].message()
        headers = (first.pop(),) if first else ()
        if message is None:  # the device closed its half of the stream
            status = cygrpc.SendStatusFromServerOperation((), 0, b"", 0)
            call.start_server_batch((*headers, status), _ignore)
            return
        call.start_server_batch((*headers, cygrpc.SendMessageOperation(message, 0)), _ignore)
        _read(call, answer)

    return answer


def _serve_in_thread(server: EchoServer) -> None:
    while True:
        server.handle(server.queue.poll())


def _serve_on_loop(server: EchoServer) -> None:
    """Let a thread wait for events and an event loop handle them, with all that are ready."""
    loop = uvloop.new_event_loop()
    events: collections.deque[Any] = collections.deque()
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    is_woken = threading.Event()

    def wait() -> None:
        while True:
            events.append(server.queue.poll())
            if not is_woken.is_set():
                is_woken.set()
                os.write(writable, b"x")

    def drain() -> None:
        os.read(readable, 1)
        is_woken.clear()
        while events:
            server.handle(events.popleft())
        while (event := server.queue.poll(0)).completion_type != _TIMEOUT:
            server.handle(event)

    loop.add_reader(readable, drain)
    threading.Thread(target=wait, daemon=True).start()
    loop.run_forever()


_TIMEOUT: Final = cygrpc.CompletionType.queue_timeout

if __name__ == "__main__":
    started = EchoServer()
    print(started.port, flush=True)
    (_serve_on_loop if "uvloop" in sys.argv else _serve_in_thread)(started)
