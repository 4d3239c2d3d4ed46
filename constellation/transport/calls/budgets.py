"""CallBudgets: how much of the process each caller may take up with calls."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from inspect import isasyncgenfunction
from typing import TYPE_CHECKING, Any, Final

from constellation.auth.principal import ANYBODY, CALLER
from constellation.errors import TooManyCallsError
from constellation.transport.calls.interceptor import CallKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from grpc.aio import ServicerContext

    from constellation.transport.calls.interceptor import Behaviour

SHARE: Final = 0.2
"""The share of the time in which the calls of one caller may run, in the long run."""
BURST_SECONDS: Final = 0.25
"""How long a caller's calls may run at once, after a pause: some hundred calls of a device."""
MAX_DEBT_SECONDS: Final = 2.0
"""How much a caller may owe at most, after a call that ran for long."""
MAX_WAITING_CALLS: Final = 8
"""Calls of one caller that wait for their turn; one more is refused."""
_MIN_SLEEP_SECONDS: Final = 0.001
_MAX_CALLERS: Final = 65_536
"""Callers that are remembered; those without a call for the longest time are forgotten first."""


@dataclass(slots=True)
class _Clock:
    """What of the time of the present call is nothing that its caller takes up."""

    now: Callable[[], float]
    seconds: float = 0.0


_CLOCK: Final[ContextVar[_Clock | None]] = ContextVar("call_clock", default=None)


@contextmanager
def leave_uncharged() -> Iterator[None]:
    """Charge the present call nothing for the block: it waits for its turn in another queue.

    The inbox of deltas is such a queue: it is fair to each device by itself.
    """
    clock = _CLOCK.get()
    if clock is None:
        yield
        return
    started = clock.now()
    try:
        yield
    finally:
        clock.seconds += clock.now() - started


@dataclass(slots=True)
class _Budget:
    seconds: float
    """How long the caller's calls may still run; below 0 it owes time."""
    at: float
    """The loop time of that."""
    waiting: int = 0


class CallBudgets:
    """A token bucket of running time for each caller, whom its token names.

    A caller that owes time waits before its next call. Where nobody needs a token there is no
    limit, because nobody can be told apart: behind a proxy, all have one address.
    """

    def __init__(self, now: Callable[[], float] | None = None) -> None:
        self._now = now or asyncio.get_running_loop().time
        self._budgets: OrderedDict[str, _Budget] = OrderedDict()

    def limit_calls(self, _: str, kind: CallKind, behaviour: Behaviour) -> Behaviour:
        """Wrap a method so that each caller takes up no more than its share.

        A device's stream is not limited here: its deltas take turns in the inbox.
        """
        if kind is CallKind.BIDI_STREAM:
            return behaviour
        if isasyncgenfunction(behaviour):
            return self._limit_stream(behaviour)

        async def handle(request: Any, context: ServicerContext[Any, Any]) -> Any:
            caller = CALLER.get()
            if caller is ANYBODY or not caller.roles:
                return await behaviour(request, context)
            budget = await self._wait_for_turn(caller.subject)
            clock = _Clock(self._now)
            token, started = _CLOCK.set(clock), self._now()
            try:
                return await behaviour(request, context)
            finally:
                _CLOCK.reset(token)
                self._charge(budget, self._now() - started - clock.seconds)

        return handle

    def _limit_stream(self, behaviour: Behaviour) -> Behaviour:
        async def handle(request: Any, context: ServicerContext[Any, Any]) -> Any:
            caller = CALLER.get()
            if caller is ANYBODY or not caller.roles:
                async for response in behaviour(request, context):
                    yield response
                return
            budget = await self._wait_for_turn(caller.subject)
            responses = behaviour(request, context)
            while True:
                started = self._now()
                try:
                    response = await anext(responses)
                except StopAsyncIteration:
                    return
                finally:
                    self._charge(budget, self._now() - started)
                yield response  # the time that a slow reader takes costs nobody anything

        return handle

    async def _wait_for_turn(self, subject: str) -> _Budget:
        """Wait until a caller owes nothing. Raises TooManyCallsError when too many calls wait."""
        budget = self._find(subject)
        if budget.waiting >= MAX_WAITING_CALLS:
            raise TooManyCallsError(
                f"{budget.waiting} calls of {subject!r} wait for their turn, and the most is "
                f"{MAX_WAITING_CALLS}: its calls may run for {SHARE:.0%} of the time"
            )
        budget.waiting += 1
        try:
            while self._refill(budget) < 0:  # noqa: ASYNC110 - calls may go on owing meanwhile
                await asyncio.sleep(-budget.seconds / SHARE + _MIN_SLEEP_SECONDS)
        finally:
            budget.waiting -= 1
        return budget

    def _find(self, subject: str) -> _Budget:
        budget = self._budgets.get(subject)
        if budget is None:
            budget = self._budgets[subject] = _Budget(BURST_SECONDS, self._now())
            if len(self._budgets) > _MAX_CALLERS:
                self._budgets.popitem(last=False)
        self._budgets.move_to_end(subject)
        return budget

    def _refill(self, budget: _Budget) -> float:
        now = self._now()
        budget.seconds = min(BURST_SECONDS, budget.seconds + (now - budget.at) * SHARE)
        budget.at = now
        return budget.seconds

    def _charge(self, budget: _Budget, seconds: float) -> None:
        self._refill(budget)
        budget.seconds = max(-MAX_DEBT_SECONDS, budget.seconds - seconds)
