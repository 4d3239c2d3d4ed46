"""Fleet: every shard a federation knows, its newest aggregate, and where it is asked."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from federation.merge.cluster_sums import (
    AggregateRefusedError,
    ShardAggregate,
    join_update,
    renumber_terms,
)
from federation.merge.terms import TermDictionary
from federation.shards.relay import from_aggregate, to_aggregate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from constellation.federated.aggregate import ClusterRows
    from federation.merge.cluster_sums import ShardUpdate
    from federation.shards.client import CandidateRequest, PullResult, ShardClient

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class PullOutcome:
    """What became of asking one address, once its updates were joined."""

    result: PullResult
    problem: str
    """"" when all it sent was taken."""
    is_refused: bool
    shard_ids: Sequence[int] = ()
    """The shards that were heard there, or through it."""


@dataclass(slots=True, eq=False)
class Sweep:
    """One sweep over all addresses."""

    has_candidate_request: bool = False
    """Local clusters were asked for."""
    responding_addresses: set[str] = field(default_factory=set)
    """Addresses that sent something that can be."""
    outcomes: list[PullOutcome] = field(default_factory=list)
    """In the order of their addresses."""
    candidates: dict[int, ClusterRows] = field(default_factory=dict)
    fresh_shard_ids: set[int] = field(default_factory=set)
    """Shards that answered now, themselves."""
    cluster_row_count: int = 0
    """Rows of clusters that were taken."""
    restarted_shard_ids: set[int] = field(default_factory=set)
    """Shards that another process writes now than when they were heard last."""


class Fleet:
    """What is known of the shards. One sweep at a time."""

    def __init__(self, clients: Sequence[ShardClient]) -> None:
        self.clients = sorted(clients, key=lambda client: client.address)
        self.aggregates: dict[int, ShardAggregate] = {}
        self._relay_addresses = {client.address for client in clients if client.is_relay}
        self.contents = TermDictionary()
        self.genres = TermDictionary()
        self._changed_shard_ids: set[int] = set()
        """Shards whose aggregate is not in the journal as it is here."""

    def restore(self, stored: Mapping[int, bytes]) -> list[int]:
        """Take what the journal has; return the shards whose address is no longer configured."""
        addresses = {client.address for client in self.clients}
        for shard_id, payload in stored.items():
            aggregate = to_aggregate(payload, self.contents, self.genres)
            if aggregate.address in addresses:
                self.aggregates[shard_id] = aggregate
        return sorted(stored.keys() - self.aggregates.keys())

    async def sweep(self, candidate_request: CandidateRequest, timeout_seconds: float) -> Sweep:
        """Ask every address for what changed, all at once, and join it."""
        held = [aggregate.version for aggregate in self.aggregates.values()]
        pulls = [client.pull(held, candidate_request, timeout_seconds) for client in self.clients]
        results = await asyncio.gather(*pulls)
        sweep, now = Sweep(has_candidate_request=candidate_request.limit > 0), time.time()
        sweep.responding_addresses = {each.address for each in results if not each.problem}
        for each in results:
            outcome = await asyncio.to_thread(self._accept_result, each, sweep, now)
            sweep.outcomes.append(outcome)
            if outcome.problem:
                log.warning(
                    "aggregate_rejected" if outcome.is_refused else "shard_unavailable",
                    address=each.address,
                    problem=outcome.problem,
                )
        return sweep

    def select_usable(self, now: float, max_age_seconds: float) -> list[ShardAggregate]:
        """Return the aggregates that are not too old, in the order of shard_id."""
        return [
            self.aggregates[shard_id]
            for shard_id in sorted(self.aggregates)
            if now - self.aggregates[shard_id].heard_at <= max_age_seconds
        ]

    def take_changed(self) -> dict[int, bytes]:
        """Return what the journal lacks, by shard."""
        changed, self._changed_shard_ids = self._changed_shard_ids, set()
        return {
            shard_id: from_aggregate(self.aggregates[shard_id], self.contents, self.genres)
            for shard_id in sorted(changed)
        }

    def put_back(self, shard_ids: Sequence[int]) -> None:
        """Count aggregates that could not be stored as not taken."""
        self._changed_shard_ids |= set(shard_ids)

    def _accept_result(self, result: PullResult, sweep: Sweep, now: float) -> PullOutcome:
        if result.problem:
            return PullOutcome(result, result.problem, result.is_refused)
        if len(result.updates) > 1 and result.address not in self._relay_addresses:
            named = sorted(update.version.shard_id for update, _ in result.updates)
            problem = f"answers for shards {named}: name it in RELAY_ADDRS if it relays them"
            return PullOutcome(result, problem, is_refused=True)
        problems, shard_ids = [], []
        for sent, age_seconds in result.updates:
            try:
                self._join_update(sent, result, age_seconds, sweep, now)
            except AggregateRefusedError as error:
                problems.append(f"shard {sent.version.shard_id} {error}")
            else:
                shard_ids.append(sent.version.shard_id)
        return PullOutcome(result, "; ".join(problems), bool(problems), shard_ids)

    def _join_update(
        self, update: ShardUpdate, result: PullResult, age_seconds: int, sweep: Sweep, now: float
    ) -> None:
        address, terms = result.address, result.terms
        shard_id = update.version.shard_id
        held = self.aggregates.get(shard_id)
        if (
            held is not None
            and held.address != address
            and held.address in sweep.responding_addresses
        ):
            raise AggregateRefusedError(
                f"answers at {held.address}, too: give each shard a SHARD_ID of its own"
            )
        if held is not None and update.version < held.version and held.address != address:
            raise AggregateRefusedError(
                f"is of epoch {update.version.epoch}, but epoch {held.version.epoch} was heard at "
                f"{held.address}: two processes may have SHARD_ID={shard_id}"
            )
        if held is not None and not age_seconds and _is_store_replaced(held, update):
            log.warning("shard_store_replaced", shard_id=shard_id, address=address)
            held = None
        if held is None or update.version.epoch > held.version.epoch:
            sweep.restarted_shard_ids.add(shard_id)
        assert terms is not None
        ours = renumber_terms(update, terms, (self.contents, self.genres))
        self.aggregates[shard_id] = join_update(held, ours, (now - age_seconds, address))
        self._changed_shard_ids.add(shard_id)
        sweep.cluster_row_count += len(update.clusters)
        if not age_seconds:
            sweep.fresh_shard_ids.add(shard_id)
        if len(ours.candidates):
            sweep.candidates[shard_id] = ours.candidates


def _is_store_replaced(held: ShardAggregate, update: ShardUpdate) -> bool:
    """Say whether a shard's store was replaced by an older or an empty one.

    It answers at the same address, where a process that was taken over would not. What it sends is
    everything, and older than what it sent before.
    """
    return update.base_version == 0 and update.version < held.version
