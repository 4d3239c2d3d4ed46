"""Fleet: every shard a federation knows, its newest aggregate, and where it is asked."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from federation.merge.cluster_sums import RefusedError, ShardAggregate, join, renumbered
from federation.merge.terms import Names
from federation.shards.relay import from_aggregate, to_aggregate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from constellation.federated.aggregate import ClusterRows
    from federation.merge.cluster_sums import Sent
    from federation.shards.client import Pulled, ShardClient, Wanted

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What became of asking one address, once its updates were joined."""

    pulled: Pulled
    problem: str
    """"" when all it sent was taken."""
    refused: bool
    shard_ids: Sequence[int] = ()
    """The shards that were heard there, or through it."""


@dataclass(slots=True, eq=False)
class Heard:
    """One sweep over all addresses."""

    asked: bool = False
    """Local clusters were asked for."""
    answering: set[str] = field(default_factory=set)
    """Addresses that sent something that can be."""
    answers: list[Answer] = field(default_factory=list)
    """In the order of their addresses."""
    candidates: dict[int, ClusterRows] = field(default_factory=dict)
    fresh: set[int] = field(default_factory=set)
    """Shards that answered now, themselves."""
    cluster_rows: int = 0
    """Rows of clusters that were taken."""
    restarted: set[int] = field(default_factory=set)
    """Shards that another process writes now than when they were heard last."""


class Fleet:
    """What is known of the shards. One sweep at a time."""

    def __init__(self, clients: Sequence[ShardClient]) -> None:
        self.clients = sorted(clients, key=lambda client: client.address)
        self.aggregates: dict[int, ShardAggregate] = {}
        self._relays = {client.address for client in clients if client.is_relay}
        self.contents = Names()
        self.genres = Names()
        self._changed: set[int] = set()
        """Shards whose aggregate is not in the journal as it is here."""

    def restore(self, stored: Mapping[int, bytes]) -> list[int]:
        """Take what the journal has; return the shards whose address is no longer configured."""
        addresses = {client.address for client in self.clients}
        for shard_id, payload in stored.items():
            aggregate = to_aggregate(payload, self.contents, self.genres)
            if aggregate.address in addresses:
                self.aggregates[shard_id] = aggregate
        return sorted(stored.keys() - self.aggregates.keys())

    async def sweep(self, wanted: Wanted, timeout_seconds: float) -> Heard:
        """Ask every address for what changed, all at once, and join it."""
        held = [aggregate.of for aggregate in self.aggregates.values()]
        pulls = [client.pull(held, wanted, timeout_seconds) for client in self.clients]
        pulled = await asyncio.gather(*pulls)
        heard, now = Heard(asked=wanted.limit > 0), time.time()
        heard.answering = {each.address for each in pulled if not each.problem}
        for each in pulled:
            answer = await asyncio.to_thread(self._take, each, heard, now)
            heard.answers.append(answer)
            if answer.problem:
                log.warning(
                    "aggregate_refused" if answer.refused else "shard_away",
                    address=each.address,
                    problem=answer.problem,
                )
        return heard

    def usable(self, now: float, max_age_seconds: float) -> list[ShardAggregate]:
        """Return the aggregates that are not too old, in the order of shard_id."""
        return [
            self.aggregates[shard_id]
            for shard_id in sorted(self.aggregates)
            if now - self.aggregates[shard_id].heard_at <= max_age_seconds
        ]

    def take_changed(self) -> dict[int, bytes]:
        """Return what the journal lacks, by shard."""
        changed, self._changed = self._changed, set()
        return {
            shard_id: from_aggregate(self.aggregates[shard_id], self.contents, self.genres)
            for shard_id in sorted(changed)
        }

    def put_back(self, shard_ids: Sequence[int]) -> None:
        """Count aggregates that could not be stored as not taken."""
        self._changed |= set(shard_ids)

    def _take(self, pulled: Pulled, heard: Heard, now: float) -> Answer:
        if pulled.problem:
            return Answer(pulled, pulled.problem, pulled.refused)
        if len(pulled.updates) > 1 and pulled.address not in self._relays:
            named = sorted(sent.of.shard_id for sent, _ in pulled.updates)
            problem = f"answers for shards {named}: name it in RELAY_ADDRS if it relays them"
            return Answer(pulled, problem, refused=True)
        problems, shard_ids = [], []
        for sent, age_seconds in pulled.updates:
            try:
                self._join(sent, pulled, age_seconds, heard, now)
            except RefusedError as error:
                problems.append(f"shard {sent.of.shard_id} {error}")
            else:
                shard_ids.append(sent.of.shard_id)
        return Answer(pulled, "; ".join(problems), bool(problems), shard_ids)

    def _join(self, sent: Sent, pulled: Pulled, age_seconds: int, heard: Heard, now: float) -> None:
        address, names = pulled.address, pulled.names
        shard_id = sent.of.shard_id
        held = self.aggregates.get(shard_id)
        if held is not None and held.address != address and held.address in heard.answering:
            raise RefusedError(
                f"answers at {held.address}, too: give each shard a SHARD_ID of its own"
            )
        if held is not None and sent.of < held.of and held.address != address:
            raise RefusedError(
                f"is of epoch {sent.of.epoch}, but epoch {held.of.epoch} was heard at "
                f"{held.address}: two processes may have SHARD_ID={shard_id}"
            )
        if held is not None and not age_seconds and _began_anew(held, sent):
            log.warning("shard_began_anew", shard_id=shard_id, address=address)
            held = None
        if held is None or sent.of.epoch > held.of.epoch:
            heard.restarted.add(shard_id)
        assert names is not None
        ours = renumbered(sent, names, (self.contents, self.genres))
        self.aggregates[shard_id] = join(held, ours, (now - age_seconds, address))
        self._changed.add(shard_id)
        heard.cluster_rows += len(sent.clusters)
        if not age_seconds:
            heard.fresh.add(shard_id)
        if len(ours.candidates):
            heard.candidates[shard_id] = ours.candidates


def _began_anew(held: ShardAggregate, sent: Sent) -> bool:
    """Say whether a shard's store was replaced by an older or an empty one.

    It answers at the same address, where a process that was taken over would not. What it sends is
    everything, and older than what it sent before.
    """
    return sent.base_version == 0 and sent.of < held.of
