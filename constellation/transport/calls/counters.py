"""Calls: how many there were of each method, how they ended, and how many messages they carried."""

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


class MethodCalls:
    """What is known of one method's calls since the process started."""

    def __init__(self, method: str, kind: CallKind) -> None:
        service, _, self.method = method.strip("/").rpartition("/")
        self.service = service
        self.kind = kind
        self.started = 0
        self.received = 0
        self.sent = 0
        self.handled: Counter[str] = Counter()
        """Calls that ended, by the name of their status."""
        self.seconds = Histogram()
        """Only of unary calls: how long a stream was open says nothing about the server."""


class Calls:
    """The calls of one process, by method."""

    def __init__(self) -> None:
        self._methods: dict[str, MethodCalls] = {}

    def of(self, method: str, kind: CallKind) -> MethodCalls:
        """Return what is known of a method, which from now on is known."""
        known = self._methods.get(method)
        if known is None:
            known = self._methods[method] = MethodCalls(method, kind)
        return known

    def methods(self) -> list[MethodCalls]:
        """Return every method that was called so far."""
        return list(self._methods.values())

    def counted(self, method: str, kind: CallKind, behaviour: Behaviour) -> Behaviour:
        """Return a behaviour that counts.

        The messages of a bidirectional stream are counted by its servicer, which reads and writes.
        """
        calls = self.of(method, kind)
        match kind:
            case CallKind.UNARY:
                return _unary(behaviour, calls)
            case CallKind.CLIENT_STREAM:
                return _awaited(_reading(behaviour, calls), calls)
            case CallKind.SERVER_STREAM if isasyncgenfunction(behaviour):
                return _yielding(behaviour, calls)
        return _awaited(behaviour, calls)


def _unary(behaviour: Behaviour, calls: MethodCalls) -> Behaviour:
    ended = _awaited(behaviour, calls)

    async def timed(request: Any, context: ServicerContext[Any, Any]) -> Any:
        calls.received += 1
        started = time.perf_counter()
        try:
            answer = await ended(request, context)
        finally:
            calls.seconds.observe(time.perf_counter() - started)
        calls.sent += 1
        return answer

    return timed


def _awaited(behaviour: Behaviour, calls: MethodCalls) -> Behaviour:
    async def counted(request: Any, context: ServicerContext[Any, Any]) -> Any:
        with _counted(calls, context):
            return await behaviour(request, context)

    return counted


def _yielding(behaviour: Behaviour, calls: MethodCalls) -> Behaviour:
    async def counted(request: Any, context: ServicerContext[Any, Any]) -> Any:
        calls.received += 1
        with _counted(calls, context):
            async for response in behaviour(request, context):
                calls.sent += 1
                yield response

    return counted


@contextmanager
def _counted(calls: MethodCalls, context: ServicerContext[Any, Any]) -> Iterator[None]:
    """Count a call, and how it ends."""
    calls.started += 1
    status = grpc.StatusCode.OK
    try:
        yield
    except BaseException as raised:
        status = ended_with(raised, context)
        raise
    finally:
        calls.handled[status.name] += 1


def _reading(behaviour: Behaviour, calls: MethodCalls) -> Behaviour:
    async def read(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for request in requests:
            calls.received += 1
            yield request

    async def reading(requests: AsyncIterator[Any], context: ServicerContext[Any, Any]) -> Any:
        answer = await behaviour(read(requests), context)
        calls.sent += 1
        return answer

    return reading


def ended_with(raised: BaseException, context: ServicerContext[Any, Any]) -> grpc.StatusCode:
    """Return the status that a call ends with which raised something."""
    if isinstance(raised, (asyncio.CancelledError, GeneratorExit)):
        return grpc.StatusCode.CANCELLED
    code: Any = context.code()  # the stubs know neither 0 nor the number
    number = code.value[0] if isinstance(code, grpc.StatusCode) else int(code or 0)
    return _CODES.get(number, grpc.StatusCode.UNKNOWN) if number else grpc.StatusCode.UNKNOWN
