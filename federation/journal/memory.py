"""MemoryJournal: a journal in memory, lost when the process ends; for development."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from constellation.errors import NotReadyError
from federation.journal.contract import (
    MAX_ROUNDS,
    check_begin,
    check_close,
    check_save,
    select_new_rows,
)
from federation.privacy.ledger import LEDGER_WEEKS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from federation.journal.contract import RoundOutput, RoundRecord
    from federation.privacy.ledger import LedgerRow


class MemoryJournal:
    """A Journal that no other process can see, so becoming active never waits."""

    kind: Final = "memory"

    def __init__(self) -> None:
        self._generation = time.time_ns() // 1_000_000
        self._is_active = False
        self._rounds: dict[int, RoundRecord] = {}
        """By round_id, ascending."""
        self._result: tuple[int, bytes] | None = None
        self._model_state: bytes | None = None
        self._aggregates: dict[int, bytes] = {}
        self._ledger: list[LedgerRow] = []

    async def become_active(self) -> None:
        self._is_active = True

    async def stay_active_forever(self) -> None:
        """Wait forever: no other process can take over."""
        self._require_active()
        await asyncio.Event().wait()

    async def read_generation(self) -> int:
        self._require_active()
        return self._generation

    async def read_newest(self) -> RoundRecord | None:
        self._require_active()
        return self._get_newest()

    async def read_round(self, round_id: int) -> RoundRecord | None:
        self._require_active()
        return self._rounds.get(round_id)

    async def read_rounds(self, before: int | None, limit: int) -> Sequence[RoundRecord]:
        self._require_active()
        found = [
            record
            for record in reversed(self._rounds.values())
            if before is None or record.round_id < before
        ]
        return found[:limit]

    async def read_result(self) -> tuple[int, bytes] | None:
        self._require_active()
        return self._result

    async def read_model_state(self) -> bytes | None:
        self._require_active()
        return self._model_state

    async def read_aggregates(self) -> Mapping[int, bytes]:
        self._require_active()
        return dict(self._aggregates)

    async def read_ledger(self) -> Sequence[LedgerRow]:
        self._require_active()
        return list(self._ledger)

    async def begin_round(self, record: RoundRecord) -> None:
        self._require_active()
        check_begin(self._get_newest(), record)
        self._rounds[record.round_id] = record
        self._rounds.pop(record.round_id - MAX_ROUNDS, None)

    async def save_result(self, record: RoundRecord, output: RoundOutput) -> None:
        self._require_active()
        check_save(self._get_newest(), record)
        new_rows = select_new_rows(self._ledger, output.ledger_rows)
        self._rounds[record.round_id] = record
        self._result = record.round_id, output.result
        self._model_state = output.model_state
        self._delete_aggregates(output.removed_aggregates)
        self._aggregates.update(output.aggregates)
        if new_rows:
            oldest = max(row.week for row in new_rows) - LEDGER_WEEKS
            self._ledger = [row for row in (*self._ledger, *new_rows) if row.week > oldest]

    async def close_round(self, record: RoundRecord) -> None:
        self._require_active()
        check_close(self._get_newest(), record)
        self._rounds[record.round_id] = record

    async def delete_aggregates(self, parts: Sequence[int]) -> None:
        self._require_active()
        self._delete_aggregates(parts)

    def _delete_aggregates(self, parts: Sequence[int]) -> None:
        for part in parts:
            self._aggregates.pop(part, None)

    def _get_newest(self) -> RoundRecord | None:
        return next(reversed(self._rounds.values()), None)

    def _require_active(self) -> None:
        if not self._is_active:
            raise NotReadyError("this federation is not the active one yet")
