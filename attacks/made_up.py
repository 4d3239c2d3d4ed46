"""Made-up devices: what an attacker sends and receives with the rights of a device."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from constellation.v1 import patterns_pb2 as patterns
from constellation.v1 import sync_pb2 as pb
from constellation_settop.columns import apply_update, from_patterns
from constellation_settop.values import GlobalState, Pattern

if TYPE_CHECKING:
    from collections.abc import Sequence

    from constellation.v1.sync_pb2_grpc import SyncServiceAsyncStub
    from constellation_settop.values import Embedding

SHOWN_SUCCESS: Final = 1.0
"""A success rate with which a made-up pattern counts for others."""
HIDDEN_SUCCESS: Final = 0.75
"""A success rate that a shard stores and shows to nobody: enough to ask a question with."""
SAMPLES: Final = 16
_DEADLINE_SECONDS: Final = 30.0
_INCARNATION: Final = 1


@dataclass(slots=True)
class MadeUpDevice:
    """A device without a household. Whatever it claims is well-formed."""

    stub: SyncServiceAsyncStub
    device_id: bytes
    _seq: int = field(default=0, init=False)

    async def replace_everything(
        self,
        claimed: Sequence[Pattern] = (),
        *,
        signals: Sequence[str] = (),
        liked: Sequence[str] = (),
    ) -> None:
        """Replace what the shard has of this device by claimed patterns, signals and likes.

        The signals are of this hour: at most four of them count.
        """
        self._seq += 1
        delta = patterns.Delta(
            seq=self._seq,
            snapshot=True,
            liked_content_ids=liked,
            signals=patterns.SignalColumns(
                content_ids=signals, hours=[int(time.time() // 3600)] * len(signals)
            ),
        )
        if claimed:
            delta.upserts.CopyFrom(from_patterns(claimed))
        answer = await self.stub.Exchange(
            pb.ExchangeRequest(hello=self._make_hello(), deltas=[delta], skip_update=True),
            timeout=_DEADLINE_SECONDS,
        )
        if answer.ack.through_seq != self._seq or answer.ack.rejected:
            raise RuntimeError(f"the shard did not take delta {self._seq}: {answer.ack}")

    async def pull(self) -> GlobalState:
        """Return everything that the shard sends to this device."""
        answer = await self.stub.Exchange(
            pb.ExchangeRequest(hello=self._make_hello()), timeout=_DEADLINE_SECONDS
        )
        return apply_update(GlobalState(), answer.update)

    def _make_hello(self) -> pb.Hello:
        return pb.Hello(device_id=self.device_id, incarnation=_INCARNATION)

    async def ask(self, *embeddings: Embedding) -> GlobalState:
        """Return what the shard sends to a device that has these tastes, and nothing to show."""
        claims = [
            make_pattern(each, number, success_rate=HIDDEN_SUCCESS)
            for number, each in enumerate(embeddings)
        ]
        await self.replace_everything(claims)
        return await self.pull()


def make_pattern(
    embedding: Embedding,
    number: int = 0,
    *,
    success_rate: float = SHOWN_SUCCESS,
    content_ids: Sequence[str] = (),
) -> Pattern:
    """Return a claimed pattern; its number makes its id."""
    now = int(time.time())
    return Pattern(
        (number + 1).to_bytes(16, "big"),
        embedding,
        success_rate,
        SAMPLES,
        content_ids=tuple(content_ids),
        created_at=now,
        updated_at=now,
    )


def list_named(state: GlobalState) -> set[str]:
    """Return the content items that similar patterns name."""
    return {film for each in state.similar.values() for film in each.pattern.content_ids}
