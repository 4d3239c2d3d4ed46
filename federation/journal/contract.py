"""The journal: what a federation requires of the store of its rounds, and the order of writes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from federation.round_report import RoundState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from federation.privacy.ledger import LedgerRow

log = structlog.get_logger(__name__)

MAX_RESULT_BYTES: Final = 16 * 2**20
"""The largest result of a round."""
MAX_ROUNDS: Final = 1000
"""A journal keeps this many of the newest rounds."""
MAX_ROUND_ID: Final = 2**63 - 1
"""The largest round_id that a store can hold."""
_POLL_SECONDS: Final = 1.0
"""Pause between two attempts to become the active federation."""


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """What the journal keeps of one round."""

    round_id: int
    """From 1; grows by one."""
    state: RoundState
    started_at: float
    """Seconds since 1970, kept to the microsecond."""
    summary: bytes
    """The serialised report of the round. The journal does not interpret it."""


@dataclass(frozen=True, slots=True, eq=False)
class RoundOutput:
    """What a round produced. A journal writes all of it at once or nothing."""

    result: bytes
    """The serialised Global, at most MAX_RESULT_BYTES."""
    model_state: bytes
    """What the next round takes over, besides the result. The journal does not interpret it."""
    aggregates: Mapping[int, bytes]
    """The parts of the shards' newest aggregates that changed, by the numbers that the fleet gives
    them: a shard_id, or one above all of them."""
    ledger_rows: Sequence[LedgerRow] = ()
    """What the releases in `result` spend."""
    removed_aggregates: Sequence[int] = ()
    """The numbers of the parts that `aggregates` replaces; the journal may lack some."""

    def __post_init__(self) -> None:
        if len(self.result) > MAX_RESULT_BYTES:
            raise ValueError(
                f"a result has at most {MAX_RESULT_BYTES} bytes, got {len(self.result)}"
            )


class Journal(Protocol):
    """The rounds of one federation. At any time, one process is the active one and may write.

    Until `become_active` has returned, every other method raises NotReadyError. A write is durable
    when it returns. It raises

    - NotReadyError if the store is unavailable for now: nothing was changed;
    - FencedError if this process is no longer the active one. The write that discovers this was
      done completely or not at all; later writes are not done;
    - StoreFailedError or DamagedStoreError if the store can no longer be trusted: the process must
      end;
    - AssertionError if the writes are in the wrong order, which is a mistake of the caller.

    Until the next write, every write may be repeated with the same arguments; that changes nothing.
    """

    @property
    def kind(self) -> str:
        """The kind of store: memory, sqlite or postgres."""
        ...

    async def become_active(self) -> None:
        """Become the active federation; wait as long as another process is. May be cancelled.

        Raises NotReadyError or ConfigError if the store cannot be reached.
        """
        ...

    async def stay_active_forever(self) -> None:
        """Stay the active federation; never return. Raises FencedError once it no longer is."""
        ...

    async def read_generation(self) -> int:
        """Return when this journal was made, in milliseconds since 1970. It never changes."""
        ...

    async def read_newest(self) -> RoundRecord | None:
        """Return the newest round; None before the first one."""
        ...

    async def read_round(self, round_id: int) -> RoundRecord | None:
        """Return one of the newest MAX_ROUNDS rounds; None for any other round."""
        ...

    async def read_rounds(self, before: int | None, limit: int) -> Sequence[RoundRecord]:
        """Return at most `limit` rounds, newest first, with ids below `before` if that is given."""
        ...

    async def read_result(self) -> tuple[int, bytes] | None:
        """Return the round_id and the result of the newest saved result; None before the first."""
        ...

    async def read_model_state(self) -> bytes | None:
        """Return the model state that was saved with that result; None before the first."""
        ...

    async def read_aggregates(self) -> Mapping[int, bytes]:
        """Return all saved parts of aggregates, by their numbers."""
        ...

    async def read_ledger(self) -> Sequence[LedgerRow]:
        """Return what releases of the last LEDGER_WEEKS weeks spent, in any order."""
        ...

    async def begin_round(self, record: RoundRecord) -> None:
        """Add the next round, PULLING; or replace the newest round if that is still PULLING.

        Rounds older than the newest MAX_ROUNDS are deleted. The last result remains, however old
        its round is.
        """
        ...

    async def save_result(self, record: RoundRecord, output: RoundOutput) -> None:
        """Make the newest round PUBLISHING and save its output, all of it or nothing.

        Replaces the last result, the last model state, and the parts of aggregates in `output`;
        removes the parts that it names; adds to the ledger. Raises AssertionError if data that was
        released before would be released again, and then saves nothing.
        """
        ...

    async def close_round(self, record: RoundRecord) -> None:
        """Update the newest round: to PUBLISHED or NO_QUORUM, or with PUBLISHING unchanged."""
        ...

    async def delete_aggregates(self, parts: Sequence[int]) -> None:
        """Delete these parts of aggregates; ignore those that the journal lacks."""
        ...


OrderCheck = Callable[[RoundRecord | None, RoundRecord], None]
"""Takes the newest record and the one to write; raises AssertionError if the order is wrong."""

_STATES_BEFORE: Final = {
    RoundState.PUBLISHING: (RoundState.PUBLISHING,),
    RoundState.PUBLISHED: (RoundState.PUBLISHING, RoundState.PUBLISHED),
    RoundState.NO_QUORUM: (RoundState.PULLING, RoundState.NO_QUORUM),
}
"""By the state that a round is closed with: the states that it may have before."""


def check_begin(newest: RoundRecord | None, record: RoundRecord) -> None:
    """Raise AssertionError unless `record` may begin after the newest round."""
    newest_id = 0 if newest is None else newest.round_id
    is_retry = (
        newest is not None
        and newest.state is RoundState.PULLING
        and record.round_id == newest.round_id
    )
    is_next = record.round_id == newest_id + 1
    if record.state is not RoundState.PULLING or not (is_retry or is_next):
        raise AssertionError(f"{_describe(record)} cannot begin after {_describe(newest)}")


def check_save(newest: RoundRecord | None, record: RoundRecord) -> None:
    """Raise AssertionError unless the result of `record` may be saved now."""
    before = (RoundState.PULLING, RoundState.PUBLISHING)
    if record.state is not RoundState.PUBLISHING or not _can_follow(newest, record, before):
        raise AssertionError(f"{_describe(record)} cannot be saved after {_describe(newest)}")


def check_close(newest: RoundRecord | None, record: RoundRecord) -> None:
    """Raise AssertionError unless the newest round may be closed as `record` says."""
    if not _can_follow(newest, record, _STATES_BEFORE.get(record.state, ())):
        raise AssertionError(f"{_describe(record)} cannot be closed after {_describe(newest)}")


def select_new_rows(known: Sequence[LedgerRow], rows: Sequence[LedgerRow]) -> Sequence[LedgerRow]:
    """Return the rows that the ledger lacks: a write that is repeated adds nothing.

    Raises AssertionError for another release of data that was released before.
    """
    by_data = {(row.mechanism, row.data_epoch): row for row in known}
    for row in rows:
        if by_data.get((row.mechanism, row.data_epoch), row) != row:
            raise AssertionError(f"{row.mechanism} {row.data_epoch} was released before")
    return [row for row in rows if (row.mechanism, row.data_epoch) not in by_data]


def _can_follow(
    newest: RoundRecord | None, record: RoundRecord, before: tuple[RoundState, ...]
) -> bool:
    return newest is not None and newest.round_id == record.round_id and newest.state in before


def _describe(record: RoundRecord | None) -> str:
    return "no round" if record is None else f"round {record.round_id} ({record.state.name})"


async def wait_for_turn(try_become_active: Callable[[], Awaitable[str]]) -> None:
    """Call `try_become_active` once a second until it succeeds.

    It returns "" on success, and otherwise why it failed. The first failure is logged.
    """
    is_logged = False
    while problem := await try_become_active():
        if not is_logged:
            log.info("waiting_for_active_federation", problem=problem)
        is_logged = True
        await asyncio.sleep(_POLL_SECONDS)
