"""Runs rounds: pull, check the quorum, compute the result, save it, publish it.

A round that a crash interrupted is run again if it had no result yet, and published if it had one.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog
from opentelemetry import trace

from constellation.auth.revocations import RevokedDevices
from constellation.errors import ConstellationError, NotReadyError, QuorumError, WrongRoleError
from constellation.federated.published import StoredGlobal
from constellation.wall_clock import read_clock
from federation.journal.contract import RoundOutput, RoundRecord
from federation.low_floor import FloorWatch
from federation.merge.codebook import compute_residual_cosine
from federation.merge.published_clusters import RoundStamp
from federation.merge.result import ModelState, RoundInputs, RoundRules
from federation.messages import (
    parse_identity,
    parse_model_state,
    parse_report,
    serialise_report,
)
from federation.other_journals import warn_of_other_journals
from federation.report import (
    compute_coverage,
    explain_missing_quorum,
    find_asked,
    report_publication,
    report_shards,
)
from federation.requested_rounds import RequestedRounds
from federation.round_output import compute_output
from federation.round_report import Coverage, RoundReport, RoundState
from federation.round_stats import RoundStats
from federation.shards.client import PullScope
from federation.shards.saved_parts import LIKES_PART

if TYPE_CHECKING:
    from collections.abc import Sequence

    from constellation.auth.key_file import KeyFile
    from federation.journal.contract import Journal
    from federation.privacy.mode import PrivacyMode
    from federation.round_policy import RoundPolicy
    from federation.shards.fleet import Fleet, Sweep
    from federation.shards.publisher import Publisher

_TRACER: Final = trace.get_tracer("constellation")
_NO_MODEL_STATE: Final = b"{}"
"""What a relay saves as its model state: the federation above keeps the real one."""
log = structlog.get_logger(__name__)


class Rounds:
    """The rounds of one federation. Only the active federation runs them."""

    def __init__(  # noqa: PLR0913, PLR0917 - what a federation consists of
        self,
        fleet: Fleet,
        journal: Journal,
        publisher: Publisher,
        rules: RoundRules,
        policy: RoundPolicy,
        revoked: RevokedDevices | None = None,
        privacy: PrivacyMode | None = None,
        signing_keys: KeyFile | None = None,
    ) -> None:
        self.stats = RoundStats()
        self.fleet = fleet
        self.policy = policy
        self.became_active = asyncio.Event()
        self._journal = journal
        self.publisher = publisher
        self._rules = rules
        self._floor = FloorWatch(rules.publishing.min_devices, has_noise=privacy is not None)
        self._revoked = revoked or RevokedDevices()
        self._signing_keys = signing_keys
        self.privacy = privacy
        """None if what is published has no noise."""
        self._model_state = ModelState()
        self._generation = 0
        self._round_lock = asyncio.Lock()
        self.requested = RequestedRounds(self._round_lock, self._run_next_round)
        self._sweep_lock = asyncio.Lock()

    async def resume(self) -> None:
        """Wait to become the active federation, then continue where the journal ends."""
        await self._journal.become_active()
        self._generation = await self._journal.read_generation()
        unconfigured = self.fleet.restore(await self._journal.read_aggregates())
        if unconfigured:
            shard_ids = sorted({part % LIKES_PART for part in unconfigured})
            log.info("shards_forgotten", shard_ids=shard_ids)
            await self._journal.delete_aggregates(unconfigured)
        if self.privacy is not None:
            self.privacy.restore(await self._journal.read_ledger())
        self.stats.published_at = read_clock()
        if (result := await self._journal.read_result()) is not None:
            stamp = await self._adopt_result(await self._journal.read_model_state(), result[1])
            self.stats.published_at = min(float(stamp.closed_at), read_clock())
        self.stats.last_report = await self._read_last_report()
        newest = await self._journal.read_newest()
        if newest is not None and newest.state is RoundState.PUBLISHING:
            log.info("round_resumed", round_id=newest.round_id)
            async with self._round_lock:
                await self._publish(parse_report(newest.summary))
        self.became_active.set()

    async def stay_active_forever(self) -> None:
        """Stay the active federation. Raises FencedError when another one has taken over."""
        await self._journal.stay_active_forever()

    def count_running(self) -> dict[str, int]:
        """Return, by name, how much is cut when the process ends now: at most one round."""
        return {"rounds": int(self._round_lock.locked())}

    async def run_forever(self) -> None:
        """Run a round at every full interval, and one now if it is overdue, until cancelled."""
        interval = self.policy.interval_seconds
        newest = await self._journal.read_newest()
        due = newest.started_at // interval * interval + interval if newest else 0.0
        due = min(due, self._find_next_start())  # the clock may have been ahead at the last round
        while True:
            await asyncio.sleep(max(0.0, due - read_clock()))
            try:
                await self.run()
            except (QuorumError, NotReadyError) as error:
                log.warning("round_failed", problem=str(error))
            due = self._find_next_start()

    def _find_next_start(self) -> float:
        """Return the time of the next full interval: seconds since 1970."""
        interval = self.policy.interval_seconds
        return read_clock() // interval * interval + interval

    async def run(self) -> RoundReport:
        """Run one round and return its report.

        Raises QuorumError if too few shards answer, NotReadyError if this is not the active
        federation, and WrongRoleError if it is a relay.
        """
        self._require_may_run()
        async with self._round_lock:
            return await self._run_next_round()

    async def request(self) -> RoundReport:
        """Run one round for a caller, even if that goes away, and return its report.

        At most one waits, however many ask. Raises what `run` raises.
        """
        self._require_may_run()
        return await self.requested.request()

    async def _run_next_round(self) -> RoundReport:
        with _TRACER.start_as_current_span("round"):
            return await self._run_round(await self._begin_round())

    def _require_may_run(self) -> None:
        self.require_active()
        if self.policy.is_relay:
            raise WrongRoleError(
                "this federation is a relay (RELAY is 1): ask the federation above it for a round"
            )

    async def sweep(self, scope: PullScope, timeout_seconds: float | None = None) -> Sweep:
        """Pull from every shard once.

        This takes at most PULL_TIMEOUT_SECONDS, or `timeout_seconds` if that is shorter.
        """
        limit = self.policy.pull_timeout_seconds
        async with self._sweep_lock:
            sweep = await self.fleet.sweep(scope, min(limit, timeout_seconds or limit))
        self.stats.aggregates_rejected += sum(outcome.is_refused for outcome in sweep.outcomes)
        self.stats.pulls_unanswered += sum(
            bool(outcome.problem) and not outcome.is_refused for outcome in sweep.outcomes
        )
        self.stats.clusters_pulled += sweep.cluster_row_count
        for shard_id in sweep.restarted_shard_ids:
            self.publisher.forget(self.fleet.aggregates[shard_id].address)
        return sweep

    async def relay_global(self, stored: StoredGlobal) -> bool:
        """Save a global of the federation above, then publish it to the shards below.

        Returns False if the global is not later than the current one. Raises NotReadyError if this
        is not the active federation, and WrongRoleError if it is not a relay.
        """
        self.require_active()
        self.require_relay()
        async with self._round_lock:
            last = self.publisher.last_global
            if last is not None and (last.generation, last.round_id) >= (
                stored.generation,
                stored.round_id,
            ):
                return False
            report = replace(await self._begin_round(), closed_at=read_clock())
            output = RoundOutput(stored.payload, _NO_MODEL_STATE, {})
            await self._publish(await self._save_output(report, output))
            return True

    @property
    def last_global(self) -> StoredGlobal | None:
        """The global of the newest round that has one."""
        return self.publisher.last_global

    @property
    def published_at(self) -> float | None:
        """When a global was last taken by a shard: seconds since 1970.

        If none ever was: when this federation became the active one. None before that.
        """
        before, taken_at = self.stats.published_at, self.publisher.taken_at
        return before if before is None or taken_at is None else max(before, taken_at)

    async def get_round(self, round_id: int) -> RoundReport | None:
        """Return the report of one round, of the newest for 0; None if the journal lacks it."""
        self.require_active()
        found = await (
            self._journal.read_round(round_id) if round_id else self._journal.read_newest()
        )
        return None if found is None else parse_report(found.summary)

    async def list_rounds(self, before: int | None, limit: int) -> list[RoundReport]:
        """Return the reports of at most `limit` rounds with ids below `before`, newest first."""
        self.require_active()
        records = await self._journal.read_rounds(before, limit)
        return [parse_report(record.summary) for record in records]

    def require_active(self) -> None:
        """Raise NotReadyError while this is not the active federation."""
        if not self.became_active.is_set():
            raise NotReadyError("another federation is the active one: ask that, or stop it")

    def require_relay(self) -> None:
        """Raise WrongRoleError unless this federation is a relay."""
        if not self.policy.is_relay:
            raise WrongRoleError(
                "this federation is not a relay (RELAY is 0) and runs its own rounds: "
                "set RELAY=1 to let a federation above run them"
            )

    async def _read_last_report(self) -> RoundReport | None:
        """Return the newest round in the journal whose pulls have ended."""
        for record in await self._journal.read_rounds(None, 2):
            if record.state is not RoundState.PULLING:
                return parse_report(record.summary)
        return None

    async def _begin_round(self) -> RoundReport:
        """Begin the next round in the journal, or the newest one again if it has no result."""
        newest = await self._journal.read_newest()
        if newest is None:
            round_id = 1
        elif newest.state is RoundState.PULLING:
            round_id = newest.round_id
        else:
            round_id = newest.round_id + 1
        report = RoundReport(
            round_id=round_id,
            generation=self._generation,
            state=RoundState.PULLING,
            started_at=read_clock(),
        )
        await self._journal.begin_round(_to_record(report))
        return report

    async def _run_round(self, report: RoundReport) -> RoundReport:
        started = time.monotonic()
        sweep = await self.sweep(self._make_scope())
        pull_seconds, closed_at = time.monotonic() - started, read_clock()
        usable = self.fleet.select_usable(closed_at, self.policy.max_age_seconds)
        shards = report_shards(sweep.outcomes, usable, closed_at)
        coverage = compute_coverage(
            find_asked(shards), self.fleet.aggregates, usable, sweep.fresh_shard_ids
        )
        report = replace(
            report,
            closed_at=closed_at,
            pull_seconds=pull_seconds,
            shards=shards,
            coverage=coverage,
        )
        warn_of_other_journals(self._generation, usable, sweep.fresh_shard_ids)
        self._floor.check(usable)
        problem = explain_missing_quorum(coverage, self.policy.min_shards, self.policy.min_coverage)
        if problem is not None:
            report = replace(report, state=RoundState.NO_QUORUM)
            await self._close_round(report)
            self._observe_round(report, time.monotonic() - started)
            raise QuorumError(problem)
        inputs = RoundInputs(
            RoundStamp(self._generation, report.round_id, int(closed_at)),
            usable,
            sweep.candidates if sweep.has_candidate_request else None,
            self.fleet.terms,
            sweep.has_likes_request,
            self.privacy.plan(report.round_id, closed_at) if self.privacy is not None else None,
        )
        report, output = await asyncio.to_thread(
            compute_output,
            report,
            coverage,
            inputs,
            self._model_state,
            self._rules,
            self._revoked.ids,
            self._signing_keys,
        )
        if inputs.plan is not None and self.privacy is not None:
            self.privacy.note_refusals(inputs.plan)
        report = await self._publish(await self._save_output(report, output))
        self._observe_round(report, time.monotonic() - started)
        return report

    def _make_scope(self) -> PullScope:
        """Return what the next pulls must bring: candidates and likes, each only at times."""
        state, now = self._model_state, read_clock()
        if self.privacy is not None:  # candidates are exact sums: no noise could hide one device
            return PullScope(include_likes=self.privacy.needs_likes(now))
        include_likes = state.related.needs_likes(now, self._rules.related.interval_seconds)
        if not state.needs_candidates(now, self._rules.reanchor_hours):
            return PullScope(include_likes=include_likes)
        residual_cosine = compute_residual_cosine(state.codebook)
        return PullScope(self.policy.max_candidates, residual_cosine, include_likes=include_likes)

    async def _save_output(self, report: RoundReport, output: RoundOutput) -> RoundReport:
        """Make a result durable, together with all changed aggregates, before it is published."""
        report = replace(report, state=RoundState.PUBLISHING)
        changes = await asyncio.to_thread(self.fleet.take_changes)
        output = replace(output, aggregates=changes.written, removed_aggregates=changes.removed)
        try:
            await self._journal.save_result(_to_record(report), output)
        except ConstellationError:
            self.fleet.put_back(changes)
            raise
        if self.privacy is not None:
            self.privacy.adopt(output.ledger_rows)
        await self._adopt_result(output.model_state, output.result)
        return report

    async def _adopt_result(self, model_state: bytes | None, payload: bytes) -> RoundStamp:
        """Continue from a result that is in the journal; return the stamp of its round."""
        stamp, dictionary = await asyncio.to_thread(parse_identity, payload)
        self.publisher.last_global = StoredGlobal(stamp.generation, stamp.round_id, payload)
        self.fleet.adopt_dictionary(stamp.generation, dictionary)
        if not self.policy.is_relay:
            self._model_state = await asyncio.to_thread(parse_model_state, model_state, payload)
        return stamp

    async def _publish(self, report: RoundReport) -> RoundReport:
        """Publish the last global to every shard, then close the round.

        Shards that are unavailable get the global later.
        """
        started = time.monotonic()
        problems = await self.publisher.publish_pending()
        report = report_publication(report, problems, time.monotonic() - started)
        report = replace(report, state=RoundState.PUBLISHED)
        await self._close_round(report)
        self.stats.observe_publication(report)
        self._log_publication(report, sorted(problems))
        return report

    def _log_publication(self, report: RoundReport, away: Sequence[str]) -> None:
        coverage = report.coverage or Coverage()
        if not self.publisher.is_taken:
            log.error("round_not_taken", round_id=report.round_id, away=away)
            return
        log.info(
            "round_published",
            round_id=report.round_id,
            shards=coverage.shards_fresh,
            devices=coverage.devices_fresh,
            clusters=report.cluster_count,
            trends=report.trend_count,
            related=report.related_count,
            codebook_version=report.codebook_version,
            away=away,
        )

    async def _close_round(self, report: RoundReport) -> None:
        await self._journal.close_round(_to_record(report))
        self.stats.rounds[report.state] += 1

    def _observe_round(self, report: RoundReport, seconds: float) -> None:
        self.stats.durations.observe(seconds)
        self.stats.last_report = report


def _to_record(report: RoundReport) -> RoundRecord:
    return RoundRecord(report.round_id, report.state, report.started_at, serialise_report(report))
