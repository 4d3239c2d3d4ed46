"""Journal: what a federation asks of whatever stores its rounds, and the rules of their order."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_RESULT_BYTES: Final = 16 * 2**20
MAX_ROUNDS: Final = 1000


class RoundState(IntEnum):
    """How far a round is; the numbers of constellation.v1.RoundState."""

    PULLING = 1
    PUBLISHING = 2
    PUBLISHED = 3
    NO_QUORUM = 4


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """What the journal keeps of one round."""

    round_id: int
    """From 1; grows by one."""
    state: RoundState
    started_at: float
    """Seconds since 1970, kept to the microsecond."""
    summary: bytes
    """What operators are told of it: opaque here."""


@dataclass(frozen=True, slots=True, eq=False)
class RoundOutput:
    """What a round made, written at once."""

    result: bytes
    """The serialised Global, at most MAX_RESULT_BYTES."""
    model_state: bytes
    """What the next round builds on: opaque here."""
    aggregates: Mapping[int, bytes]
    """By shard_id: the newest aggregate of each shard whose aggregate changed."""

    def __post_init__(self) -> None:
        if len(self.result) > MAX_RESULT_BYTES:
            raise ValueError(
                f"a result has at most {MAX_RESULT_BYTES} bytes, got {len(self.result)}"
            )


class Journal(Protocol):
    """The rounds of one federation, of which one process at a time is the active one.

    Before `take` returned, everything else raises NotReadyError. A write is durable when it
    returns. It raises

    - NotReadyError when the store did not do it for now: nothing was changed;
    - FencedError when this process is not the active one any more. The write that found that out
      may have been done or not, never a part of it; later ones are not done;
    - StoreFailedError or DamagedStoreError when the store cannot be trusted any more: the process
      must end;
    - AssertionError when it comes in the wrong order: a mistake of the caller.

    Every write may be repeated with the same arguments, until the next one: that changes nothing.
    """

    @property
    def kind(self) -> str:
        """What people call it: memory, sqlite, postgres."""
        ...

    async def become_active(self) -> None:
        """Become the active federation. Waits for as long as another process is.

        It may be cancelled. Raises NotReadyError or ConfigError when the store cannot be reached.
        """
        ...

    async def stay_active_forever(self) -> None:
        """Stay the active federation. Raises FencedError when that is lost; never returns."""
        ...

    async def read_generation(self) -> int:
        """Return when this journal was made, in milliseconds since 1970. It never changes."""
        ...

    async def read_newest(self) -> RoundRecord | None:
        """Return the newest round; None before the first."""
        ...

    async def read_round(self, round_id: int) -> RoundRecord | None:
        """Return one of the newest KEPT_ROUNDS rounds; None for any other."""
        ...

    async def read_rounds(self, before: int | None, limit: int) -> Sequence[RoundRecord]:
        """Return at most `limit` rounds with a number below `before`, newest first."""
        ...

    async def read_result(self) -> tuple[int, bytes] | None:
        """Return number and result of the newest round that was settled; None before the first."""
        ...

    async def read_model_state(self) -> bytes | None:
        """Return what that round left for the next one."""
        ...

    async def read_aggregates(self) -> Mapping[int, bytes]:
        """Return the newest aggregate of every shard, by shard_id."""
        ...

    async def begin_round(self, record: RoundRecord) -> None:
        """Add the next round, PULLING; or begin the newest again, when that is still PULLING.

        Rounds older than the newest KEPT_ROUNDS go; the last result stays, whatever its age.
        """
        ...

    async def save_result(self, record: RoundRecord, output: RoundOutput) -> None:
        """Make the newest round PUBLISHING, with its outcome: all of it or nothing.

        Replaces the last result, the last memory, and the aggregates of the shards named.
        """
        ...

    async def close_round(self, record: RoundRecord) -> None:
        """Say what became of the newest round: PUBLISHED, NO_QUORUM, or still PUBLISHING."""
        ...

    async def delete_aggregates(self, shard_ids: Sequence[int]) -> None:
        """Drop the aggregates of these shards, those that are there."""
        ...


_STATES_BEFORE: Final = {
    RoundState.PUBLISHING: (RoundState.PUBLISHING,),
    RoundState.PUBLISHED: (RoundState.PUBLISHING, RoundState.PUBLISHED),
    RoundState.NO_QUORUM: (RoundState.PULLING, RoundState.NO_QUORUM),
}
"""From which states a round is closed with each."""


def check_begin(newest: RoundRecord | None, record: RoundRecord) -> None:
    """Raise AssertionError unless this round may begin after the newest."""
    number = 0 if newest is None else newest.round_id
    again = newest is not None and newest.state is RoundState.PULLING and record.round_id == number
    if record.state is not RoundState.PULLING or not (again or record.round_id == number + 1):
        raise AssertionError(f"{_describe(record)} cannot begin after {_describe(newest)}")


def check_save(newest: RoundRecord | None, record: RoundRecord) -> None:
    """Raise AssertionError unless this is how the newest round may be settled."""
    before = (RoundState.PULLING, RoundState.PUBLISHING)
    if record.state is not RoundState.PUBLISHING or not _can_follow(newest, record, before):
        raise AssertionError(f"{_describe(record)} cannot be settled after {_describe(newest)}")


def check_close(newest: RoundRecord | None, record: RoundRecord) -> None:
    """Raise AssertionError unless this is how the newest round may be closed."""
    if not _can_follow(newest, record, _STATES_BEFORE.get(record.state, ())):
        raise AssertionError(f"{_describe(record)} cannot be closed after {_describe(newest)}")


def _can_follow(
    newest: RoundRecord | None, record: RoundRecord, before: tuple[RoundState, ...]
) -> bool:
    return newest is not None and newest.round_id == record.round_id and newest.state in before


def _describe(record: RoundRecord | None) -> str:
    return "no round" if record is None else f"round {record.round_id} ({record.state.name})"
