"""CallBudgets: how much of the process each caller may take up with calls."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import asynccontextmanager
from contextvars import ContextVar
from inspect import isasyncgenfunction
from typing import TYPE_CHECKING, Any, Final

from constellation.auth.principal import ANYBODY, CALLER
from constellation.errors import TooManyCallsError
from constellation.transport.calls.interceptor import CallKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from grpc.aio import ServicerContext

    from constellation.transport.calls.interceptor import Behaviour

SHARE: Final = 0.2
"""The share of the time in which the calls of one caller may run, in the long run."""
BURST_SECONDS: Final = 0.1
"""How long a caller's calls may run without a wait, after a pause: about a hundred calls."""
CALL_SECONDS: Final = 0.0005
"""What each call costs besides its method: gRPC, the check of its token, sending the answer."""
MAX_DEBT_SECONDS: Final = 2.0
"""The most that a caller may owe, after a call that ran for long."""
MAX_WAITING_CALLS: Final = 8
"""Calls that wait while their caller owes time; one more is refused."""
REFUSAL_SECONDS: Final = 1.0
"""How long a call waits before it is refused: a client that tries again at once is no faster."""
MAX_HELD_REFUSALS: Final = 64
"""Calls of one caller that wait to be refused; one more is refused at once."""
MAX_ALL_HELD_REFUSALS: Final = 512
"""The same of all callers."""
_MIN_SLEEP_SECONDS: Final = 0.001
_MAX_CALLERS: Final = 65_536
"""Callers that are remembered; those without a call for the longest time are forgotten first."""


class _Budget:
    """How long one caller's calls may still run, and which of them has its turn."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.waiting = 0
        """Calls that wait for their turn."""
        self.held_refusals = 0
        """Calls that wait to be refused."""
        self.turn = asyncio.Lock()
        """Held by the one call that runs."""
        self._now = now
        self._seconds = BURST_SECONDS
        """How long the caller's calls may still run; below 0 it owes time."""
        self._at = now()
        """The loop time of that."""

    def refill(self) -> float:
        """Return how long the caller's calls may run now; below 0 it owes time."""
        now = self._now()
        self._seconds = min(BURST_SECONDS, self._seconds + (now - self._at) * SHARE)
        self._at = now
        return self._seconds

    def charge(self, seconds: float) -> None:
        """Take what a call has taken up."""
        self._seconds = max(-MAX_DEBT_SECONDS, self.refill() - seconds)


class _Turn:
    """The turn of one call. What it takes up from `take` to `leave` is charged to its caller."""

    def __init__(self, budget: _Budget, now: Callable[[], float]) -> None:
        self.is_taken = False
        self._budget = budget
        self._now = now
        self._started = 0.0

    async def begin(self) -> None:
        """Wait until no other call of the caller runs, and the caller owes nothing."""
        budget = self._budget
        await budget.turn.acquire()
        try:
            if (seconds := budget.refill()) < 0:
                await asyncio.sleep(-seconds / SHARE + _MIN_SLEEP_SECONDS)
        except asyncio.CancelledError:
            budget.turn.release()
            raise
        budget.charge(CALL_SECONDS)
        self.is_taken = True
        self._started = self._now()

    async def take(self) -> None:
        """Wait until no other call of the caller runs."""
        await self._budget.turn.acquire()
        self.is_taken = True
        self._started = self._now()

    def leave(self) -> None:
        """Let another call of the caller run; does nothing without the turn."""
        if not self.is_taken:
            return
        self.is_taken = False
        self._budget.turn.release()
        self._budget.charge(self._now() - self._started)


_TURN: Final[ContextVar[_Turn | None]] = ContextVar("call_turn", default=None)


@asynccontextmanager
async def leave_turn() -> AsyncIterator[None]:
    """Let the caller's other calls run during the block, in which the present one only waits.

    It waits for its caller, or in another queue, such as the inbox of deltas, which is fair to each
    device by itself. Waiting costs the caller nothing.
    """
    turn = _TURN.get()
    if turn is None or not turn.is_taken:
        yield
        return
    turn.leave()
    yield  # an error in the block ends the call, which then needs no turn
    await turn.take()


class CallBudgets:
    """A token bucket of running time for each caller, whom its token names.

    The calls of one caller run one after another. So others wait for at most one of them, and the
    cost of a call is known before the next one runs. A caller that owes time waits before its next
    call. Where nobody needs a token there is no limit, because callers look alike: behind a
    proxy, all have one address.
    """

    def __init__(self, now: Callable[[], float] | None = None) -> None:
        self._now = now or asyncio.get_running_loop().time
        self._budgets: OrderedDict[str, _Budget] = OrderedDict()
        self._held_refusals = 0

    def limit_calls(self, _: str, kind: CallKind, behaviour: Behaviour) -> Behaviour:
        """Wrap a method so that each caller takes up no more than its share.

        A device's stream is not limited here: its deltas take turns in the inbox.
        """
        if kind is CallKind.BIDI_STREAM:
            return behaviour
        if isasyncgenfunction(behaviour):
            return self._limit_stream(behaviour)

        async def handle(request: Any, context: ServicerContext[Any, Any]) -> Any:
            turn = await self._begin_call()
            if turn is not None and kind is CallKind.CLIENT_STREAM:
                request = _read_between_turns(request)
            try:
                return await behaviour(request, context)
            finally:
                if turn is not None:
                    turn.leave()

        return handle

    def _limit_stream(self, behaviour: Behaviour) -> Behaviour:
        async def handle(request: Any, context: ServicerContext[Any, Any]) -> Any:
            turn = await self._begin_call()
            try:
                async for response in behaviour(request, context):
                    async with leave_turn():  # a slow reader costs nobody anything
                        yield response
            finally:
                if turn is not None:
                    turn.leave()

        return handle

    async def _begin_call(self) -> _Turn | None:
        """Wait for the turn of the present call; return None when its caller has no limit.

        Raises TooManyCallsError when too many calls of a caller that owes time wait.
        """
        caller = CALLER.get()
        if caller is ANYBODY or not caller.roles:
            return None
        budget = self._find(caller.subject)
        if budget.waiting >= MAX_WAITING_CALLS and budget.refill() < 0:
            await self._hold_refusal(budget)
            raise TooManyCallsError(
                f"{budget.waiting} calls of {caller.subject!r} wait for their turn, and the most "
                f"is {MAX_WAITING_CALLS}: its calls may run for {SHARE:.0%} of the time"
            )
        turn = _Turn(budget, self._now)
        budget.waiting += 1
        try:
            await turn.begin()
        finally:
            budget.waiting -= 1
        _TURN.set(turn)  # gRPC makes a task for each call
        return turn

    async def _hold_refusal(self, budget: _Budget) -> None:
        """Wait before a call is refused, unless too many do."""
        if (
            budget.held_refusals >= MAX_HELD_REFUSALS
            or self._held_refusals >= MAX_ALL_HELD_REFUSALS
        ):
            return
        budget.held_refusals += 1
        self._held_refusals += 1
        try:
            await asyncio.sleep(REFUSAL_SECONDS)
        finally:
            budget.held_refusals -= 1
            self._held_refusals -= 1

    def _find(self, subject: str) -> _Budget:
        budget = self._budgets.get(subject)
        if budget is None:
            budget = self._budgets[subject] = _Budget(self._now)
            if len(self._budgets) > _MAX_CALLERS:
                self._budgets.popitem(last=False)
        self._budgets.move_to_end(subject)
        return budget


async def _read_between_turns(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Yield what a caller sends; while the call waits for it, the caller's other calls may run."""
    while True:
        async with leave_turn():
            request = await anext(requests, None)
        if request is None:
            return
        yield request
