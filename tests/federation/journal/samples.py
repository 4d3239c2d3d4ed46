"""Rounds for the tests of the journal, and locations of journals."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from federation.journal.contract import RoundOutput, RoundRecord
from federation.journal.open import open_journal
from federation.round_report import RoundState

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from federation.journal.contract import Journal


@dataclass(frozen=True)
class JournalLocation:
    """The location of journals that see each other."""

    data_dir: Path | None = None
    postgres_url: str | None = None

    def open(self) -> AbstractAsyncContextManager[Journal]:
        return open_journal(self.data_dir, self.postgres_url)


def make_pulling_round(round_id: int, summary: bytes = b"pulling") -> RoundRecord:
    started_at = 1_750_000_000.123456 + 3600 * round_id
    return RoundRecord(round_id, RoundState.PULLING, started_at, summary)


def make_publishing_round(round_id: int, summary: bytes = b"publishing") -> RoundRecord:
    return replace(make_pulling_round(round_id, summary), state=RoundState.PUBLISHING)


def make_published_round(round_id: int, summary: bytes = b"published") -> RoundRecord:
    return replace(make_pulling_round(round_id, summary), state=RoundState.PUBLISHED)


def make_no_quorum_round(round_id: int) -> RoundRecord:
    return replace(make_pulling_round(round_id, b"no quorum"), state=RoundState.NO_QUORUM)


def make_outcome(round_id: int, *shard_ids: int, size_bytes: int = 100) -> RoundOutput:
    """Return an output that contains its round_id in each of its parts."""
    label = f"{round_id} ".encode()
    return RoundOutput(
        label * size_bytes,
        b"memory " + label,
        dict.fromkeys(shard_ids, b"aggregate " + label * size_bytes),
    )


async def run_round(journal: Journal, round_id: int, *shard_ids: int) -> None:
    await journal.begin_round(make_pulling_round(round_id))
    await journal.save_result(make_publishing_round(round_id), make_outcome(round_id, *shard_ids))
    await journal.close_round(make_published_round(round_id))


async def has_outcome(journal: Journal, expected: RoundOutput) -> bool:
    """Return whether the journal has exactly this output."""
    stored = await journal.read_result()
    return (
        stored is not None
        and stored[1] == expected.result
        and await journal.read_model_state() == expected.model_state
        and await journal.read_aggregates() == expected.aggregates
    )
