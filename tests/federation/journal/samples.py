"""Rounds for the tests of the journal, and places where journals are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from federation.journal.contract import Outcome, RoundRecord, RoundState
from federation.journal.open import open_journal

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from federation.journal.contract import Journal


@dataclass(frozen=True)
class Place:
    """Where journals are that see each other."""

    data_dir: Path | None = None
    postgres_url: str | None = None

    def open(self) -> AbstractAsyncContextManager[Journal]:
        return open_journal(self.data_dir, self.postgres_url)


def pulling(round_id: int, summary: bytes = b"pulling") -> RoundRecord:
    started_at = 1_750_000_000.123456 + 3600 * round_id
    return RoundRecord(round_id, RoundState.PULLING, started_at, summary)


def publishing(round_id: int, summary: bytes = b"publishing") -> RoundRecord:
    return replace(pulling(round_id, summary), state=RoundState.PUBLISHING)


def published(round_id: int, summary: bytes = b"published") -> RoundRecord:
    return replace(pulling(round_id, summary), state=RoundState.PUBLISHED)


def no_quorum(round_id: int) -> RoundRecord:
    return replace(pulling(round_id, b"no quorum"), state=RoundState.NO_QUORUM)


def outcome(round_id: int, *shard_ids: int, size_bytes: int = 100) -> Outcome:
    """Return an outcome that tells its round in each of its parts."""
    named = f"{round_id} ".encode()
    return Outcome(
        named * size_bytes,
        b"memory " + named,
        dict.fromkeys(shard_ids, b"aggregate " + named * size_bytes),
    )


async def run_round(journal: Journal, round_id: int, *shard_ids: int) -> None:
    await journal.begin(pulling(round_id))
    await journal.settle(publishing(round_id), outcome(round_id, *shard_ids))
    await journal.close(published(round_id))


async def holds(journal: Journal, made: Outcome) -> bool:
    """Say whether this is what the journal has, all of it."""
    stored = await journal.result()
    return (
        stored is not None
        and stored[1] == made.result
        and await journal.memory() == made.memory
        and await journal.aggregates() == made.aggregates
    )
