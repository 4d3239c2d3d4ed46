"""Counters of gRPC calls by method: how many there were, how they ended, and their messages."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import contextmanager
from inspect import isasyncgenfunction
from typing import TYPE_CHECKING, Any, Final

import grpc

from constellation.histogram import Histogram
from constellation.transport.calls.interceptor import Behaviour, CallKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from grpc.aio import ServicerContext

_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


class MethodStats:
    """The counts of one method's calls since the process started."""

    def __init__(self, method: str, kind: CallKind) -> None:
        service, _, self.method = method.strip("/").rpartition("/")
        self.service = service
        self.kind = kind
        self.started = 0
        self.received = 0
        self.sent = 0
        self.handled: Counter[str] = Counter()
        """The number of calls that ended, by the name of their status."""
        self.seconds = Histogram()
        """The duration of unary calls. That of a stream would say nothing about the server."""


class CallStats:
    """The counts of all calls of one process, by method."""

    def __init__(self) -> None:
        self._methods: dict[str, MethodStats] = {}

    def get_or_add(self, method: str, kind: CallKind) -> MethodStats:
        """Return the counts of a method, added when there are none yet."""
        stats = self._methods.get(method)
        if stats is None:
            stats = self._methods[method] = MethodStats(method, kind)
        return stats

    def methods(self) -> list[MethodStats]:
        """Return the counts of every method that was called."""
        return list(self._methods.values())

    def count_calls(self, method: str, kind: CallKind, behaviour: Behaviour) -> Behaviour:
        """Return a behaviour that counts its calls and messages.

        The servicer of a bidirectional stream counts the messages itself, because it reads and
        writes them.
        """
        stats = self.get_or_add(method, kind)
        match kind:
            case CallKind.UNARY:
                return _count_unary(behaviour, stats)
            case CallKind.CLIENT_STREAM:
                return _count_call(_count_requests(behaviour, stats), stats)
            case CallKind.SERVER_STREAM if isasyncgenfunction(behaviour):
                return _count_server_stream(behaviour, stats)
        return _count_call(behaviour, stats)


def _count_unary(behaviour: Behaviour, stats: MethodStats) -> Behaviour:
    async def handle(request: Any, context: ServicerContext[Any, Any]) -> Any:
        stats.started += 1
        stats.received += 1
        started = time.perf_counter()
        status = "OK"
        try:
            answer = await behaviour(request, context)
        except BaseException as raised:
            status = read_final_code(raised, context).name
            raise
        finally:
            stats.handled[status] += 1
            stats.seconds.observe(time.perf_counter() - started)
        stats.sent += 1
        return answer

    return handle


def _count_call(behaviour: Behaviour, stats: MethodStats) -> Behaviour:
    async def handle(request: Any, context: ServicerContext[Any, Any]) -> Any:
        with _record_call(stats, context):
            return await behaviour(request, context)

    return handle


def _count_server_stream(behaviour: Behaviour, stats: MethodStats) -> Behaviour:
    async def handle(request: Any, context: ServicerContext[Any, Any]) -> Any:
        stats.received += 1
        with _record_call(stats, context):
            async for response in behaviour(request, context):
                stats.sent += 1
                yield response

    return handle


@contextmanager
def _record_call(stats: MethodStats, context: ServicerContext[Any, Any]) -> Iterator[None]:
    """Count a call that begins, and the status with which it ends."""
    stats.started += 1
    status = grpc.StatusCode.OK
    try:
        yield
    except BaseException as raised:
        status = read_final_code(raised, context)
        raise
    finally:
        stats.handled[status.name] += 1


def _count_requests(behaviour: Behaviour, stats: MethodStats) -> Behaviour:
    async def count(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for request in requests:
            stats.received += 1
            yield request

    async def handle(requests: AsyncIterator[Any], context: ServicerContext[Any, Any]) -> Any:
        answer = await behaviour(count(requests), context)
        stats.sent += 1
        return answer

    return handle


def read_final_code(raised: BaseException, context: ServicerContext[Any, Any]) -> grpc.StatusCode:
    """Return the status code of a call that failed, for counters and spans."""
    if isinstance(raised, (asyncio.CancelledError, GeneratorExit)):
        return grpc.StatusCode.CANCELLED
    code: Any = context.code()  # 0, a number or a StatusCode; the stubs know only the last
    number = code.value[0] if isinstance(code, grpc.StatusCode) else int(code or 0)
    return _CODES.get(number, grpc.StatusCode.UNKNOWN) if number else grpc.StatusCode.UNKNOWN
