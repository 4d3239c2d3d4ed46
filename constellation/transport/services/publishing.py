"""GlobalReceiver: takes the global states that a federation publishes, one at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from constellation.errors import InvalidInputError, NotReadyError
from constellation.federated.published import PublishedGlobal, RoundKey, StoredGlobal
from constellation.transport.codec.global_state import read_header, read_payload, to_published
from constellation.wall_clock import read_clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from constellation.auth.global_signatures import HeaderVerifier
    from constellation.v1.aggregates_pb2 import PublishGlobalRequest

RECEIVE_SECONDS: Final = 60.0
"""How long a global state may take to arrive, with its wait for the one before it."""
HEADER_SECONDS: Final = 10.0
"""How long the first message may take."""
MAX_EARLY_ROUNDS: Final = 10_000
"""Rounds of a generation beyond one for each second of its age."""
_MAX_CLOCK_LEAD_SECONDS: Final = 300.0


class GlobalReceiver:
    """Reads global states whose round is plausible and later than the present one.

    The round stands in the first message, so that an older state is not even parsed. States are
    large: while one is received, the calls that bring others wait, and use no memory.
    """

    def __init__(
        self, find_current: Callable[[], RoundKey], verifier: HeaderVerifier | None = None
    ) -> None:
        self._find_current = find_current
        self._verifier = verifier
        self._lock = asyncio.Lock()

    async def receive(
        self, frames: AsyncIterator[PublishGlobalRequest]
    ) -> tuple[StoredGlobal, PublishedGlobal] | None:
        """Return the state that a stream of frames has; None unless it is later than the present.

        Raises InvalidInputError for a wrong one, UnauthenticatedError for one that the federation
        did not sign, and NotReadyError when it takes too long.
        """
        try:
            async with asyncio.timeout(HEADER_SECONDS):
                header = await read_header(frames)
            if self._verifier is not None:
                self._verifier.check(header)
            round_ = RoundKey(header.generation, header.round_id)
            async with asyncio.timeout(RECEIVE_SECONDS):
                if round_ <= self._find_current():
                    await _skip(frames)
                    return None
                _require_plausible(round_)
                async with self._lock:
                    stored = await read_payload(frames, header)
                    return stored, await self._parse(stored)
        except TimeoutError:
            raise NotReadyError(
                f"the global state did not arrive within {RECEIVE_SECONDS:g} s, or its header not "
                f"within {HEADER_SECONDS:g} s"
            ) from None

    async def _parse(self, stored: StoredGlobal) -> PublishedGlobal:
        """Parse a state in a thread, which keeps the lock until it is done."""
        parsing = asyncio.ensure_future(asyncio.to_thread(to_published, stored))
        try:
            return await asyncio.shield(parsing)
        except asyncio.CancelledError:
            await asyncio.wait({parsing})  # a thread cannot be cancelled
            raise


def _require_plausible(round_: RoundKey) -> None:
    """Raise InvalidInputError for a round that would keep all true ones out forever.

    A generation is the time at which its journal began, so its age bounds its rounds.
    """
    now_ms = int((read_clock() + _MAX_CLOCK_LEAD_SECONDS) * 1000)
    if round_.generation > now_ms:
        raise InvalidInputError(
            "header.generation",
            "is the time at which a journal began, in milliseconds since 1970, and must not be "
            f"later than {now_ms}, got {round_.generation}",
        )
    most = (now_ms - round_.generation) // 1000 + MAX_EARLY_ROUNDS
    if round_.round_id > most:
        raise InvalidInputError(
            "header.round_id",
            f"must be at most {most}, as old as its generation is, got {round_.round_id}",
        )


async def _skip(frames: AsyncIterator[PublishGlobalRequest]) -> None:
    """Read a stream to its end, and keep nothing: a caller that is cut off sees no answer."""
    async for _ in frames:
        pass
