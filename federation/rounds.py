"""Rounds: pull, quorum, result, journal, publish; begun again, or gone on with, after a crash."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
from opentelemetry import trace

from constellation.errors import (
    ConfigError,
    ConstellationError,
    NotReadyError,
    QuorumError,
)
from constellation.federated.published import StoredGlobal
from constellation.histogram import MINUTES, Histogram
from constellation.transport.codec.times import to_duration, to_timestamp
from constellation.v1 import aggregates_pb2, federation_pb2
from federation.journal.contract import RoundOutput, RoundRecord, RoundState
from federation.merge.codebook import compute_residual_cosine
from federation.merge.result import ModelState, RoundInputs, RoundRules, compute_result
from federation.messages import from_model_state, from_result, to_model_state
from federation.report import explain_missing_quorum, report_result, report_shards
from federation.shards.client import CandidateRequest

if TYPE_CHECKING:
    from federation.journal.contract import Journal
    from federation.shards.fleet import Fleet, Sweep
    from federation.shards.publisher import Publisher

_TRACER: Final = trace.get_tracer("constellation")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundPolicy:
    """When rounds happen, and what they wait for; each is a setting."""

    interval_seconds: float = 3600.0
    pull_timeout_seconds: float = 60.0
    max_age_seconds: float = 21_600.0
    min_shards: int = 3
    min_coverage: float = 0.6
    max_candidates: int = 256
    is_relay: bool = False
    """A federation above runs the rounds."""


@dataclass(slots=True)
class RoundStats:
    """What happened since the start."""

    rounds: dict[RoundState, int] = field(
        default_factory=lambda: dict.fromkeys((RoundState.PUBLISHED, RoundState.NO_QUORUM), 0)
    )
    """By how they ended; each is there from the start."""
    aggregates_rejected: int = 0
    """Aggregates that could not be."""
    pulls_unanswered: int = 0
    """Pulls that got no answer."""
    durations: Histogram = field(default_factory=partial(Histogram, MINUTES))
    """How long rounds took."""
    clusters_pulled: int = 0
    trends_published: int = 0
    """Published, in all rounds."""
    cluster_count: int = 0
    """Published in the last round ..."""
    coverage: float | None = None
    """... which heard this share of the known devices, None before the first one."""
    published_at: float | None = None
    """Seconds since 1970: when a global was last published, by the journal or by this process; when
    this federation became the active one if none was; None before, when another one publishes."""


class Rounds:
    """The rounds of one federation. Only the active one runs them."""

    def __init__(
        self,
        fleet: Fleet,
        journal: Journal,
        publisher: Publisher,
        rules: RoundRules,
        policy: RoundPolicy,
    ) -> None:
        self.stats = RoundStats()
        self.fleet = fleet
        self.policy = policy
        self.became_active = asyncio.Event()
        self._journal = journal
        self._publisher = publisher
        self._rules = rules
        self._model_state = ModelState()
        self._generation = 0
        self._round_lock = asyncio.Lock()
        self._sweep_lock = asyncio.Lock()

    async def resume(self) -> None:
        """Become the active federation, and go on where the journal ends. Waits for its turn."""
        await self._journal.become_active()
        self._generation = await self._journal.read_generation()
        forgotten = self.fleet.restore(await self._journal.read_aggregates())
        if forgotten:
            log.info("shards_forgotten", shard_ids=forgotten)
            await self._journal.delete_aggregates(forgotten)
        self.stats.published_at = time.time()
        if (result := await self._journal.read_result()) is not None:
            self._adopt_result(await self._journal.read_model_state(), result[1])
            published = aggregates_pb2.Global.FromString(result[1])
            self.stats.published_at = float(published.closed_at)
        newest = await self._journal.read_newest()
        if newest is not None and newest.state is RoundState.PUBLISHING:
            log.info("round_resumed", round_id=newest.round_id)
            async with self._round_lock:
                await self._publish(_to_report(newest))
        self.became_active.set()

    async def stay_active_forever(self) -> None:
        """Stay the active federation. Raises FencedError when another has taken over."""
        await self._journal.stay_active_forever()

    async def run_forever(self) -> None:
        """Run a round at every full interval, now if one is overdue. Runs until cancelled."""
        interval = self.policy.interval_seconds
        newest = await self._journal.read_newest()
        due = newest.started_at // interval * interval + interval if newest else 0.0
        while True:
            await asyncio.sleep(max(0.0, due - time.time()))
            try:
                await self.run()
            except (QuorumError, NotReadyError) as error:
                log.warning("round_failed", problem=str(error))
            due = time.time() // interval * interval + interval

    async def run(self) -> federation_pb2.Round:
        """Run one round; return what became of it.

        Raises QuorumError when too few shards answer, NotReadyError unless this is the active
        federation, ConfigError for a relay.
        """
        self.require_active()
        if self.policy.is_relay:
            raise ConfigError("RELAY is 1: the federation above runs the rounds")
        async with self._round_lock:
            with _TRACER.start_as_current_span("round"):
                return await self._run_round(await self._begin_round())

    async def sweep(
        self, candidate_request: CandidateRequest, timeout_seconds: float | None = None
    ) -> Sweep:
        """Ask every shard for what changed, within PULL_TIMEOUT_SECONDS or less."""
        limit = self.policy.pull_timeout_seconds
        async with self._sweep_lock:
            sweep = await self.fleet.sweep(candidate_request, min(limit, timeout_seconds or limit))
        self.stats.aggregates_rejected += sum(outcome.is_refused for outcome in sweep.outcomes)
        self.stats.pulls_unanswered += sum(
            bool(answer.problem) and not answer.is_refused for answer in sweep.outcomes
        )
        self.stats.clusters_pulled += sweep.cluster_row_count
        for shard_id in sweep.restarted_shard_ids:
            self._publisher.forget(self.fleet.aggregates[shard_id].address)
        return sweep

    async def relay_global(self, stored: StoredGlobal) -> bool:
        """Take a global of the federation above: durably, then for the shards below.

        Returns False for one that is not later than the one held. Raises ConfigError unless this
        is a relay.
        """
        self.require_active()
        if not self.policy.is_relay:
            raise ConfigError("RELAY is 0: this federation runs its own rounds")
        async with self._round_lock:
            last = self._publisher.last_global
            if last is not None and (last.generation, last.round_id) >= (
                stored.generation,
                stored.round_id,
            ):
                return False
            report = await self._begin_round()
            report.closed_at.CopyFrom(to_timestamp(time.time()))
            await self._save_result(report, stored.payload, b"{}")
            await self._publish(report)
            return True

    @property
    def last_global(self) -> StoredGlobal | None:
        """The global of the newest round that has one."""
        return self._publisher.last_global

    async def get_round(self, round_id: int) -> federation_pb2.Round | None:
        """Return one round, the newest for 0; None when the journal does not have it."""
        self.require_active()
        found = await (
            self._journal.read_round(round_id) if round_id else self._journal.read_newest()
        )
        return None if found is None else _to_report(found)

    async def list_rounds(self, before: int | None, limit: int) -> list[federation_pb2.Round]:
        """Return rounds with a number below `before`, newest first."""
        self.require_active()
        return [_to_report(record) for record in await self._journal.read_rounds(before, limit)]

    def require_active(self) -> None:
        """Raise NotReadyError while another federation runs the rounds."""
        if not self.became_active.is_set():
            raise NotReadyError("another federation is the active one: ask that, or stop it")

    async def _begin_round(self) -> federation_pb2.Round:
        """Begin a round; the last one again when it has no result."""
        newest = await self._journal.read_newest()
        is_retry = newest is not None and newest.state is RoundState.PULLING
        report = federation_pb2.Round(
            round_id=newest.round_id + (not is_retry) if newest else 1,
            generation=self._generation,
            started_at=to_timestamp(time.time()),
        )
        await self._journal.begin_round(_to_record(report, RoundState.PULLING))
        return report

    async def _run_round(self, report: federation_pb2.Round) -> federation_pb2.Round:
        started = time.monotonic()
        sweep = await self.sweep(self._make_candidate_request())
        closed = time.time()
        report.closed_at.CopyFrom(to_timestamp(closed))
        report.pull_time.CopyFrom(to_duration(time.monotonic() - started))
        usable = self.fleet.select_usable(closed, self.policy.max_age_seconds)
        report_shards(report, self.fleet, sweep, usable)
        problem = explain_missing_quorum(
            report.coverage, self.policy.min_shards, self.policy.min_coverage
        )
        if problem is not None:
            await self._close_round(report, RoundState.NO_QUORUM)
            self._update_stats(report, time.monotonic() - started)
            raise QuorumError(problem)
        merging = time.monotonic()
        inputs = RoundInputs(
            report.round_id,
            report.closed_at.seconds,
            usable,
            sweep.candidates if sweep.has_candidate_request else None,
            (self.fleet.contents, self.fleet.genres),
            self._generation,
        )
        payload, model_state = await asyncio.to_thread(self._compute_result, report, inputs)
        report.merge_time.CopyFrom(to_duration(time.monotonic() - merging))
        await self._save_result(report, payload, model_state)
        await self._publish(report)
        self._update_stats(report, time.monotonic() - started)
        return report

    def _make_candidate_request(self) -> CandidateRequest:
        """Return which local clusters this round asks for: none, but at first and once a day."""
        if not self._model_state.needs_candidates(time.time(), self._rules.reanchor_hours):
            return CandidateRequest()
        return CandidateRequest(
            self.policy.max_candidates, compute_residual_cosine(self._model_state.codebook)
        )

    def _compute_result(
        self, report: federation_pb2.Round, inputs: RoundInputs
    ) -> tuple[bytes, bytes]:
        """Return what the round publishes, and what the next one builds on. Runs in a thread."""
        result = compute_result(inputs, self._model_state, self._rules)
        named = (self._generation, inputs.round_id, inputs.closed_at)
        payload = from_result(result, named, report.coverage)
        report_result(report, result, payload)
        return payload, from_model_state(result.model_state)

    async def _save_result(
        self, report: federation_pb2.Round, payload: bytes, model_state: bytes
    ) -> None:
        """Make a result durable before anybody sees it."""
        changed = await asyncio.to_thread(self.fleet.take_changed)
        try:
            await self._journal.save_result(
                _to_record(report, RoundState.PUBLISHING),
                RoundOutput(payload, model_state, changed),
            )
        except ConstellationError:
            self.fleet.put_back(list(changed))
            raise
        self._adopt_result(model_state, payload)

    def _adopt_result(self, model_state: bytes | None, payload: bytes) -> None:
        """Go on from what is stored, whether this process stored it or one before."""
        message = aggregates_pb2.Global.FromString(payload)
        self._publisher.last_global = StoredGlobal(message.generation, message.round_id, payload)
        if not self.policy.is_relay:
            self._model_state = to_model_state(model_state, payload)

    async def _publish(self, report: federation_pb2.Round) -> None:
        """Give every shard the last global, then close the round; who is away gets it later."""
        started = time.monotonic()
        problems = await self._publisher.publish_pending()
        for shard in report.shards:
            shard.publish_problem = problems.get(shard.address, "")
            shard.published = not shard.publish_problem
        report.publish_time.CopyFrom(to_duration(time.monotonic() - started))
        await self._close_round(report, RoundState.PUBLISHED)
        self.stats.published_at = time.time()
        self.stats.trends_published += report.trend_count
        self.stats.cluster_count = report.cluster_count
        log.info(
            "round_published",
            round_id=report.round_id,
            shards=report.coverage.shards_fresh,
            devices=report.coverage.devices_fresh,
            clusters=report.cluster_count,
            trends=report.trend_count,
            codebook_version=report.codebook_version,
            away=sorted(problems),
        )

    async def _close_round(self, report: federation_pb2.Round, state: RoundState) -> None:
        await self._journal.close_round(_to_record(report, state))
        self.stats.rounds[state] += 1

    def _update_stats(self, report: federation_pb2.Round, seconds: float) -> None:
        coverage = report.coverage
        self.stats.durations.observe(seconds)
        known = coverage.devices_total
        self.stats.coverage = coverage.devices_fresh / known if known else 1.0


def _to_record(report: federation_pb2.Round, state: RoundState) -> RoundRecord:
    report.state = int(state)  # type: ignore[assignment]  # enums are ints
    started = report.started_at.ToNanoseconds() / 1e9
    return RoundRecord(report.round_id, state, started, report.SerializeToString())


def _to_report(record: RoundRecord) -> federation_pb2.Round:
    return federation_pb2.Round.FromString(record.summary)
