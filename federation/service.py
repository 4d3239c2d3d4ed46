"""The servicers of a federation: for operators, and for a federation above."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from constellation.errors import InvalidInputError, NotFoundError, NotReadyError
from constellation.federated.published import RoundKey
from constellation.tasks import finish_even_if_cancelled
from constellation.transport.calls.budgets import leave_turn
from constellation.transport.codec.aggregates import to_aggregate_version, to_candidate_limits
from constellation.transport.codec.paging import to_position
from constellation.transport.services.publishing import GlobalReceiver
from constellation.v1 import aggregates_pb2 as aggregates
from constellation.v1 import aggregates_pb2_grpc, federation_pb2_grpc
from constellation.v1 import federation_pb2 as pb
from constellation.wall_clock import read_clock
from federation.messages import from_report, from_unavailable
from federation.privacy.ledger import LEDGER_WEEKS
from federation.privacy_messages import from_privacy
from federation.report import find_unavailable
from federation.shards.client import PullScope
from federation.shards.relay import to_chunks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from constellation.auth.global_signatures import HeaderVerifier
    from federation.round_report import UnavailableShard
    from federation.rounds import Rounds

_TIMEOUT_SHARE: Final = 0.6
"""A relay waits for its shards for this share of the caller's deadline, so that it can answer."""
_PAGE_SIZE: Final = 20
"""Rounds in a page, unless the request says otherwise."""
_MAX_PAGE_SIZE: Final = 100
_WEEKS: Final = 4
"""Weeks of the ledger, unless the request says otherwise."""


class FederationServicer(federation_pb2_grpc.FederationServiceServicer):
    """Serves FederationService: lists, returns and runs rounds."""

    def __init__(self, rounds: Rounds) -> None:
        self._rounds = rounds

    async def GetRound(self, request: pb.GetRoundRequest, context: Any) -> pb.GetRoundResponse:
        found = await self._rounds.get_round(_check_round_id(request.round_id))
        if found is None:
            raise NotFoundError(
                f"the journal has no round {request.round_id}"
                if request.round_id
                else "no round has been run yet"
            )
        return pb.GetRoundResponse(round=from_report(found))

    async def ListRounds(
        self, request: pb.ListRoundsRequest, context: Any
    ) -> pb.ListRoundsResponse:
        size = min(request.page_size or _PAGE_SIZE, _MAX_PAGE_SIZE)
        before = to_position(request.page_token) or None
        page = await self._rounds.list_rounds(before, size)
        return pb.ListRoundsResponse(
            rounds=[from_report(report) for report in page],
            next_page_token=str(page[-1].round_id) if len(page) == size else "",
        )

    async def RunRound(self, request: pb.RunRoundRequest, context: Any) -> pb.RunRoundResponse:
        async with leave_turn():
            report = await self._rounds.request()
        return pb.RunRoundResponse(round=from_report(report))

    async def GetPrivacy(
        self, request: pb.GetPrivacyRequest, context: Any
    ) -> pb.GetPrivacyResponse:
        self._rounds.require_active()
        weeks = min(request.weeks or _WEEKS, LEDGER_WEEKS)
        return from_privacy(self._rounds.privacy, read_clock(), weeks)


class RelayServicer(aggregates_pb2_grpc.AggregateServiceServicer):
    """Serves AggregateService: passes aggregates of the shards below up, and globals down."""

    def __init__(self, rounds: Rounds, verifier: HeaderVerifier | None = None) -> None:
        self._rounds = rounds
        self._receiver = GlobalReceiver(self._find_current_round, verifier)

    def _find_current_round(self) -> RoundKey:
        last = self._rounds.last_global
        return RoundKey() if last is None else RoundKey(last.generation, last.round_id)

    async def PullAggregate(
        self, request: aggregates.PullAggregateRequest, context: Any
    ) -> AsyncIterator[aggregates.PullAggregateResponse]:
        """Yield the aggregate of every shard below, each separately.

        Aggregates are not added up here, so that two levels of federations compute the same bits as
        one.
        """
        rounds = self._rounds
        rounds.require_active()
        rounds.require_relay()
        scope = PullScope(*to_candidate_limits(request), include_likes=request.include_likes)
        known = [to_aggregate_version(each) for each in request.known_versions]
        bases = {(each.shard_id, each.epoch): each.version for each in known}
        remaining = context.time_remaining()
        limit = None if remaining is None else remaining * _TIMEOUT_SHARE
        async with leave_turn():
            sweep = await rounds.sweep(scope, limit)
        fleet, now = rounds.fleet, read_clock()
        unavailable = find_unavailable(sweep.outcomes, fleet.aggregates)
        usable = fleet.select_usable(now, rounds.policy.max_age_seconds)
        if unavailable and not usable:
            raise NotReadyError(_describe_unavailable(unavailable))
        for aggregate in usable:
            base = bases.get((aggregate.version.shard_id, aggregate.version.epoch), 0)
            is_fresh = aggregate.version.shard_id in sweep.fresh_shard_ids
            age_seconds = 0 if is_fresh else max(1, round(now - aggregate.received_at))
            chunks = to_chunks(
                aggregate,
                base,
                fleet.terms,
                age_seconds,
                sweep.candidates.get(aggregate.version.shard_id),
                include_likes=scope.include_likes,
            )
            while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
                if unavailable and chunk.HasField("header"):
                    chunk.header.unavailable.extend(from_unavailable(each) for each in unavailable)
                    unavailable = []
                yield chunk

    async def PublishGlobal(
        self, request_iterator: AsyncIterator[aggregates.PublishGlobalRequest], context: Any
    ) -> aggregates.PublishGlobalResponse:
        self._rounds.require_active()
        self._rounds.require_relay()
        received = await self._receiver.receive(request_iterator)
        applied = False
        if received is not None:
            relaying = self._rounds.relay_global(received[0])
            async with leave_turn():
                applied = await finish_even_if_cancelled(relaying, "relay")
        last = self._rounds.last_global
        assert last is not None
        return aggregates.PublishGlobalResponse(
            generation=last.generation, round_id=last.round_id, applied=applied
        )


def _describe_unavailable(unavailable: Sequence[UnavailableShard]) -> str:
    first, *others = unavailable
    more = f" (and {len(others)} more)" if others else ""
    return f"this relay hears no shard: {first.address}{more}: {first.problem}"


def _check_round_id(round_id: int) -> int:
    if round_id >= 2**63:
        raise InvalidInputError("round_id", f"must be below 2**63, got {round_id}")
    return round_id
