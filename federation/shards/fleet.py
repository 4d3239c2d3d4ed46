"""The fleet: every shard that a federation knows, with its newest aggregate and its address."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from constellation.federated.likes import DictionaryKey
from constellation.wall_clock import read_clock
from federation.merge.aggregates import (
    AggregateRefusedError,
    ShardAggregate,
    Source,
    join_update,
    join_update_likes,
    renumber_terms,
)
from federation.merge.terms import Terms
from federation.related.dictionary import NO_DICTIONARY, Dictionary
from federation.related.shard_likes import find_contradiction
from federation.shards.saved_parts import SavedParts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from constellation.federated.aggregate import AggregateVersion, ClusterRows
    from federation.merge.aggregates import ShardUpdate
    from federation.shards.client import PullResult, PullScope, ShardClient
    from federation.shards.saved_parts import PartChanges

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class PullOutcome:
    """The outcome of one pull after its updates were joined."""

    result: PullResult
    problem: str
    """Why the pull failed or an update was refused; empty if every update was joined."""
    is_refused: bool
    """The address answered, but the answer or a part of it was refused."""
    shard_ids: Sequence[int] = ()
    """The shards whose updates were joined."""


@dataclass(slots=True, eq=False)
class Sweep:
    """The results of pulling from all addresses once."""

    has_candidate_request: bool = False
    """Whether the shards were asked for candidates."""
    has_likes_request: bool = False
    """Whether the shards were asked for likes and pairs."""
    responding_addresses: set[str] = field(default_factory=set)
    """The addresses that sent a valid answer."""
    outcomes: list[PullOutcome] = field(default_factory=list)
    """Ordered by address."""
    candidates: dict[int, ClusterRows] = field(default_factory=dict)
    """By shard_id: the candidates that the shard offers, if any."""
    fresh_shard_ids: set[int] = field(default_factory=set)
    """The shards that answered during this sweep, directly or through a relay."""
    cluster_row_count: int = 0
    """The number of cluster rows that were joined."""
    restarted_shard_ids: set[int] = field(default_factory=set)
    """The shards that are new, or have a later epoch than at the last sweep."""


class Fleet:
    """The aggregates of all shards, updated by sweeps. Only one sweep may run at a time."""

    def __init__(self, clients: Sequence[ShardClient]) -> None:
        self.clients = sorted(clients, key=lambda client: client.address)
        self.aggregates: dict[int, ShardAggregate] = {}
        """By shard_id."""
        self.terms = Terms.empty()
        """The dictionaries that number the terms of all aggregates."""
        self._relay_addresses = {client.address for client in clients if client.is_relay}
        self._saved_parts = SavedParts()
        self._dictionary = NO_DICTIONARY
        self._dictionary_key = DictionaryKey()

    def adopt_dictionary(self, generation: int, dictionary: Dictionary) -> None:
        """Check pairs against this dictionary from now on."""
        self._dictionary = dictionary
        self._dictionary_key = DictionaryKey(generation, dictionary.version)

    def restore(self, stored: Mapping[int, bytes]) -> Sequence[int]:
        """Load the parts of aggregates that the journal has.

        Returns those that were left out because the address of their shard is no longer configured.
        """
        addresses = {client.address for client in self.clients}
        restored = self._saved_parts.restore(stored, self.terms, addresses)
        self.aggregates.update(restored.aggregates)
        return restored.unknown_parts

    async def sweep(self, scope: PullScope, timeout_seconds: float) -> Sweep:
        """Pull from all addresses at the same time, and join what changed."""
        known = self._find_known_versions(include_likes=scope.include_likes)
        pulls = [client.pull(known, scope, timeout_seconds) for client in self.clients]
        results = await asyncio.gather(*pulls)
        sweep, now = Sweep(scope.candidate_limit > 0, scope.include_likes), read_clock()
        sweep.responding_addresses = {each.address for each in results if not each.problem}
        for result in results:
            outcome = await asyncio.to_thread(self._accept_result, result, sweep, now)
            sweep.outcomes.append(outcome)
            if outcome.problem:
                log.warning(
                    "aggregate_rejected" if outcome.is_refused else "shard_unavailable",
                    address=result.address,
                    problem=outcome.problem,
                )
        return sweep

    def _find_known_versions(self, *, include_likes: bool) -> list[AggregateVersion]:
        """Return the version of each shard's aggregate on which its answer may build."""
        aggregates = self.aggregates.values()
        if not include_likes:
            return [each.version for each in aggregates]
        return [
            each.likes.version
            for each in aggregates
            if each.likes is not None and each.likes.version.epoch == each.version.epoch
        ]

    def select_usable(self, now: float, max_age_seconds: float) -> list[ShardAggregate]:
        """Return the aggregates that are not older than `max_age_seconds`, ordered by shard_id."""
        return [
            self.aggregates[shard_id]
            for shard_id in sorted(self.aggregates)
            if now - self.aggregates[shard_id].received_at <= max_age_seconds
        ]

    def take_changes(self) -> PartChanges:
        """Return what the journal lacks of the aggregates, and count it as saved."""
        return self._saved_parts.take_changes(self.aggregates, self.terms)

    def put_back(self, changes: PartChanges) -> None:
        """Count these changes as not saved: saving them to the journal failed."""
        self._saved_parts.put_back(changes)

    def _accept_result(self, result: PullResult, sweep: Sweep, now: float) -> PullOutcome:
        """Join the updates of one pull; return what was joined and what was refused."""
        if result.problem:
            return PullOutcome(result, result.problem, result.is_refused)
        if len(result.updates) > 1 and result.address not in self._relay_addresses:
            shard_ids = sorted(update.version.shard_id for update, _ in result.updates)
            problem = f"answers for shards {shard_ids}: name it in RELAY_ADDRS if it relays them"
            return PullOutcome(result, problem, is_refused=True)
        assert result.terms is not None
        problems, joined = [], []
        for update, age_seconds in result.updates:
            shard_id = update.version.shard_id
            source = Source(now - age_seconds, result.address)
            try:
                self._join_update(update, result.terms, source, sweep, is_fresh=not age_seconds)
            except AggregateRefusedError as error:
                problems.append(f"shard {shard_id} {error}")
            else:
                joined.append(shard_id)
        return PullOutcome(result, "; ".join(problems), bool(problems), joined)

    def _join_update(
        self, update: ShardUpdate, terms: Terms, source: Source, sweep: Sweep, *, is_fresh: bool
    ) -> None:
        """Join one update, numbered by `terms`.

        Raises AggregateRefusedError if it contradicts what is known of the shard.
        """
        shard_id = update.version.shard_id
        known = self.aggregates.get(shard_id)
        if known is not None and known.address != source.address:
            _check_new_address(known, update, sweep.responding_addresses)
        elif known is not None and is_fresh and _is_store_replaced(known, update):
            log.warning("shard_store_replaced", shard_id=shard_id, address=source.address)
            known = None
        is_restarted = known is None or update.version.epoch > known.version.epoch
        if is_restarted:
            sweep.restarted_shard_ids.add(shard_id)
        self._check_pairs(known, update, terms)
        ours = renumber_terms(update, terms, self.terms)  # after the checks: keeps no refused terms
        self.aggregates[shard_id] = join_update(known, ours, source)
        self._saved_parts.note_change(
            shard_id, has_likes=update.likes is not None, is_restarted=is_restarted
        )
        sweep.cluster_row_count += len(update.clusters)
        if is_fresh:
            sweep.fresh_shard_ids.add(shard_id)
        if len(ours.candidates):
            sweep.candidates[shard_id] = ours.candidates

    def _check_pairs(self, known: ShardAggregate | None, update: ShardUpdate, terms: Terms) -> None:
        """Check the pairs of an update against its likes, if they are of the present dictionary.

        Raises AggregateRefusedError for a pair with more devices than one of its content items.
        """
        if update.likes is None or update.likes.dictionary != self._dictionary_key:
            return
        joined = join_update_likes(known, update)
        assert joined is not None
        content_ids = self._dictionary.content_ids
        wrong = find_contradiction(joined, terms.contents.find(content_ids))
        if wrong is None:
            return
        if wrong.column >= len(content_ids):
            raise AggregateRefusedError(
                f"has a pair of position {wrong.column}, but the dictionary has only "
                f"{len(content_ids)} content items"
            )
        raise AggregateRefusedError(
            f"has {wrong.devices} devices that like both {content_ids[wrong.row]!r} and "
            f"{content_ids[wrong.column]!r}, but only {wrong.limit} that like one of them"
        )


def _check_new_address(
    known: ShardAggregate, update: ShardUpdate, responding_addresses: set[str]
) -> None:
    """Raise AggregateRefusedError unless the shard may have moved to another address."""
    shard_id = update.version.shard_id
    if known.address in responding_addresses:
        raise AggregateRefusedError(
            f"also answers at {known.address}: give each shard a SHARD_ID of its own"
        )
    if update.version < known.version:
        raise AggregateRefusedError(
            f"has epoch {update.version.epoch}, but epoch {known.version.epoch} was received from "
            f"{known.address}: check whether two processes have SHARD_ID={shard_id}"
        )


def _is_store_replaced(known: ShardAggregate, update: ShardUpdate) -> bool:
    """Return whether the store of the shard was replaced by an older or an empty one.

    Then the shard sends its whole aggregate, and an older version of it than before. `update` must
    come from the address of `known`: a process that was taken over answers at another address.
    """
    return update.base_version == 0 and update.version < known.version
