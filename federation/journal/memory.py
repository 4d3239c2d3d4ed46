"""MemoryJournal: for development; forgotten when the process ends."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from constellation.errors import NotReadyError
from federation.journal.contract import KEPT_ROUNDS, check_begin, check_close, check_settle

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from federation.journal.contract import Outcome, RoundRecord


class MemoryJournal:
    """A Journal that no other process can see, so there is nobody to wait for."""

    kind: Final = "memory"

    def __init__(self) -> None:
        self._generation = time.time_ns() // 1_000_000
        self._taken = False
        self._rounds: dict[int, RoundRecord] = {}
        """In the order of their numbers."""
        self._result: tuple[int, bytes] | None = None
        self._memory: bytes | None = None
        self._aggregates: dict[int, bytes] = {}

    async def take(self) -> None:
        self._taken = True

    async def hold_forever(self) -> None:
        """Wait for ever."""
        self._require_taken()
        await asyncio.Event().wait()

    async def generation(self) -> int:
        self._require_taken()
        return self._generation

    async def newest(self) -> RoundRecord | None:
        self._require_taken()
        return self._newest()

    async def get(self, round_id: int) -> RoundRecord | None:
        self._require_taken()
        return self._rounds.get(round_id)

    async def page(self, before: int | None, limit: int) -> Sequence[RoundRecord]:
        self._require_taken()
        found = [
            record
            for record in reversed(self._rounds.values())
            if before is None or record.round_id < before
        ]
        return found[:limit]

    async def result(self) -> tuple[int, bytes] | None:
        self._require_taken()
        return self._result

    async def memory(self) -> bytes | None:
        self._require_taken()
        return self._memory

    async def aggregates(self) -> Mapping[int, bytes]:
        self._require_taken()
        return dict(self._aggregates)

    async def begin(self, record: RoundRecord) -> None:
        self._require_taken()
        check_begin(self._newest(), record)
        self._rounds[record.round_id] = record
        self._rounds.pop(record.round_id - KEPT_ROUNDS, None)

    async def settle(self, record: RoundRecord, outcome: Outcome) -> None:
        self._require_taken()
        check_settle(self._newest(), record)
        self._rounds[record.round_id] = record
        self._result = record.round_id, outcome.result
        self._memory = outcome.memory
        self._aggregates.update(outcome.aggregates)

    async def close(self, record: RoundRecord) -> None:
        self._require_taken()
        check_close(self._newest(), record)
        self._rounds[record.round_id] = record

    async def forget_aggregates(self, shard_ids: Sequence[int]) -> None:
        self._require_taken()
        for shard_id in shard_ids:
            self._aggregates.pop(shard_id, None)

    def _newest(self) -> RoundRecord | None:
        return next(reversed(self._rounds.values()), None)

    def _require_taken(self) -> None:
        if not self._taken:
            raise NotReadyError("this federation is not the active one yet")
