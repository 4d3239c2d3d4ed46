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
from constellation.v1 import aggregates_pb2, federation_pb2
from federation.journal.contract import Outcome, RoundRecord, RoundState
from federation.merge.codebook import residual_cosine
from federation.merge.result import Inputs, Memory, RoundRules, work_out
from federation.messages import from_memory, from_result, to_memory
from federation.report import describe, duration, lacks_quorum, moment, summarise
from federation.shards.client import Wanted

if TYPE_CHECKING:
    from federation.journal.contract import Journal
    from federation.shards.fleet import Fleet, Heard
    from federation.shards.publisher import Publisher

_TRACER: Final = trace.get_tracer("constellation")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """When rounds happen, and what they wait for; each is a setting."""

    interval_seconds: float = 3600.0
    pull_timeout_seconds: float = 60.0
    max_age_seconds: float = 21_600.0
    min_shards: int = 3
    min_coverage: float = 0.6
    max_candidates: int = 256
    relay: bool = False
    """A federation above runs the rounds."""


@dataclass(slots=True)
class Counts:
    """What happened since the start."""

    rounds: dict[RoundState, int] = field(
        default_factory=lambda: dict.fromkeys((RoundState.PUBLISHED, RoundState.NO_QUORUM), 0)
    )
    """By how they ended; each is there from the start."""
    refused: int = 0
    """Aggregates that could not be."""
    away: int = 0
    """Pulls that got no answer."""
    seconds: Histogram = field(default_factory=partial(Histogram, MINUTES))
    """How long rounds took."""
    clusters_pulled: int = 0
    trends: int = 0
    """Published, in all rounds."""
    clusters: int = 0
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
        pace: Pace,
    ) -> None:
        self.counts = Counts()
        self.fleet = fleet
        self.pace = pace
        self.became_active = asyncio.Event()
        self._journal = journal
        self._publisher = publisher
        self._rules = rules
        self._memory = Memory()
        self._generation = 0
        self._running = asyncio.Lock()
        self._sweeping = asyncio.Lock()

    async def resume(self) -> None:
        """Become the active federation, and go on where the journal ends. Waits for its turn."""
        await self._journal.take()
        self._generation = await self._journal.generation()
        gone = self.fleet.restore(await self._journal.aggregates())
        if gone:
            log.info("shards_forgotten", shard_ids=gone)
            await self._journal.forget_aggregates(gone)
        self.counts.published_at = time.time()
        if (result := await self._journal.result()) is not None:
            self._remember(await self._journal.memory(), result[1])
            published = aggregates_pb2.Global.FromString(result[1])
            self.counts.published_at = float(published.closed_at)
        newest = await self._journal.newest()
        if newest is not None and newest.state is RoundState.PUBLISHING:
            log.info("round_resumed", round_id=newest.round_id)
            async with self._running:
                await self._publish(_told(newest))
        self.became_active.set()

    async def hold_forever(self) -> None:
        """Stay the active federation. Raises FencedError when another has taken over."""
        await self._journal.hold_forever()

    async def run_forever(self) -> None:
        """Run a round at every full interval, now if one is overdue. Runs until cancelled."""
        interval = self.pace.interval_seconds
        newest = await self._journal.newest()
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
        if self.pace.relay:
            raise ConfigError("RELAY is 1: the federation above runs the rounds")
        async with self._running:
            with _TRACER.start_as_current_span("round"):
                return await self._run(await self._begin())

    async def sweep(self, wanted: Wanted, timeout_seconds: float | None = None) -> Heard:
        """Ask every shard for what changed, within PULL_TIMEOUT_SECONDS or less."""
        limit = self.pace.pull_timeout_seconds
        async with self._sweeping:
            heard = await self.fleet.sweep(wanted, min(limit, timeout_seconds or limit))
        self.counts.refused += sum(answer.refused for answer in heard.answers)
        self.counts.away += sum(
            bool(answer.problem) and not answer.refused for answer in heard.answers
        )
        self.counts.clusters_pulled += heard.cluster_rows
        for shard_id in heard.restarted:
            self._publisher.forget(self.fleet.aggregates[shard_id].address)
        return heard

    async def relay(self, stored: StoredGlobal) -> bool:
        """Take a global of the federation above: durably, then for the shards below.

        Returns False for one that is not later than the one held. Raises ConfigError unless this
        is a relay.
        """
        self.require_active()
        if not self.pace.relay:
            raise ConfigError("RELAY is 0: this federation runs its own rounds")
        async with self._running:
            last = self._publisher.last
            if last is not None and (last.generation, last.round_id) >= (
                stored.generation,
                stored.round_id,
            ):
                return False
            told = await self._begin()
            told.closed_at.CopyFrom(moment(time.time()))
            await self._settle(told, stored.payload, b"{}")
            await self._publish(told)
            return True

    @property
    def last(self) -> StoredGlobal | None:
        """The global of the newest round that has one."""
        return self._publisher.last

    async def get(self, round_id: int) -> federation_pb2.Round | None:
        """Return one round, the newest for 0; None when the journal does not have it."""
        self.require_active()
        found = await (self._journal.get(round_id) if round_id else self._journal.newest())
        return None if found is None else _told(found)

    async def page(self, before: int | None, limit: int) -> list[federation_pb2.Round]:
        """Return rounds with a number below `before`, newest first."""
        self.require_active()
        return [_told(record) for record in await self._journal.page(before, limit)]

    def require_active(self) -> None:
        """Raise NotReadyError while another federation runs the rounds."""
        if not self.became_active.is_set():
            raise NotReadyError("another federation is the active one: ask that, or stop it")

    async def _begin(self) -> federation_pb2.Round:
        """Begin a round; the last one again when it has no result."""
        newest = await self._journal.newest()
        again = newest is not None and newest.state is RoundState.PULLING
        told = federation_pb2.Round(
            round_id=newest.round_id + (not again) if newest else 1,
            generation=self._generation,
            started_at=moment(time.time()),
        )
        await self._journal.begin(_record(told, RoundState.PULLING))
        return told

    async def _run(self, told: federation_pb2.Round) -> federation_pb2.Round:
        started = time.monotonic()
        heard = await self.sweep(self._wanted())
        closed = time.time()
        told.closed_at.CopyFrom(moment(closed))
        told.pull_time.CopyFrom(duration(time.monotonic() - started))
        usable = self.fleet.usable(closed, self.pace.max_age_seconds)
        describe(told, self.fleet, heard, usable)
        problem = lacks_quorum(told.coverage, self.pace.min_shards, self.pace.min_coverage)
        if problem is not None:
            await self._close(told, RoundState.NO_QUORUM)
            self._measure(told, time.monotonic() - started)
            raise QuorumError(problem)
        merging = time.monotonic()
        inputs = Inputs(
            told.round_id,
            told.closed_at.seconds,
            usable,
            heard.candidates if heard.asked else None,
            (self.fleet.contents, self.fleet.genres),
            self._generation,
        )
        payload, memory = await asyncio.to_thread(self._work_out, told, inputs)
        told.merge_time.CopyFrom(duration(time.monotonic() - merging))
        await self._settle(told, payload, memory)
        await self._publish(told)
        self._measure(told, time.monotonic() - started)
        return told

    def _wanted(self) -> Wanted:
        """Return which local clusters this round asks for: none, but at first and once a day."""
        if not self._memory.needs_candidates(time.time(), self._rules.reanchor_hours):
            return Wanted()
        return Wanted(self.pace.max_candidates, residual_cosine(self._memory.codebook))

    def _work_out(self, told: federation_pb2.Round, inputs: Inputs) -> tuple[bytes, bytes]:
        """Return what the round publishes, and what the next one builds on. Runs in a thread."""
        result = work_out(inputs, self._memory, self._rules)
        named = (self._generation, inputs.round_id, inputs.closed_at)
        payload = from_result(result, named, told.coverage)
        summarise(told, result, payload)
        return payload, from_memory(result.memory)

    async def _settle(self, told: federation_pb2.Round, payload: bytes, memory: bytes) -> None:
        """Make a result durable before anybody sees it."""
        changed = await asyncio.to_thread(self.fleet.take_changed)
        try:
            await self._journal.settle(
                _record(told, RoundState.PUBLISHING), Outcome(payload, memory, changed)
            )
        except ConstellationError:
            self.fleet.put_back(list(changed))
            raise
        self._remember(memory, payload)

    def _remember(self, memory: bytes | None, payload: bytes) -> None:
        """Go on from what is stored, whether this process stored it or one before."""
        message = aggregates_pb2.Global.FromString(payload)
        self._publisher.last = StoredGlobal(message.generation, message.round_id, payload)
        if not self.pace.relay:
            self._memory = to_memory(memory, payload)

    async def _publish(self, told: federation_pb2.Round) -> None:
        """Give every shard the last global, then close the round; who is away gets it later."""
        started = time.monotonic()
        problems = await self._publisher.offer()
        for shard in told.shards:
            shard.publish_problem = problems.get(shard.address, "")
            shard.published = not shard.publish_problem
        told.publish_time.CopyFrom(duration(time.monotonic() - started))
        await self._close(told, RoundState.PUBLISHED)
        self.counts.published_at = time.time()
        self.counts.trends += told.trend_count
        self.counts.clusters = told.cluster_count
        log.info(
            "round_published",
            round_id=told.round_id,
            shards=told.coverage.shards_heard,
            devices=told.coverage.devices_heard,
            clusters=told.cluster_count,
            trends=told.trend_count,
            codebook_version=told.codebook_version,
            away=sorted(problems),
        )

    async def _close(self, told: federation_pb2.Round, state: RoundState) -> None:
        await self._journal.close(_record(told, state))
        self.counts.rounds[state] += 1

    def _measure(self, told: federation_pb2.Round, seconds: float) -> None:
        coverage = told.coverage
        self.counts.seconds.observe(seconds)
        known = coverage.devices_known
        self.counts.coverage = coverage.devices_heard / known if known else 1.0


def _record(told: federation_pb2.Round, state: RoundState) -> RoundRecord:
    told.state = int(state)  # type: ignore[assignment]  # enums are ints
    started = told.started_at.ToNanoseconds() / 1e9
    return RoundRecord(told.round_id, state, started, told.SerializeToString())


def _told(record: RoundRecord) -> federation_pb2.Round:
    return federation_pb2.Round.FromString(record.summary)
