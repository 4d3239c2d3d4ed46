"""ShardManager: admission, cursors, trends, expiry and snapshots of one shard; owns the rest."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import structlog

from constellation.core.aggregates.shard_aggregates import Aggregates
from constellation.core.globals import GlobalState
from constellation.core.index.feeder import IndexFeeder
from constellation.core.index.recall import measure_recall
from constellation.core.index.similar import SimilarSearch
from constellation.core.ingest.committer import CommitCollaborators, Committer
from constellation.core.ingest.cursors import Cursor, Expectation, compute_expectation
from constellation.core.ingest.inbox import Inbox
from constellation.core.ingest.stats import Stats
from constellation.core.rows import TermKind
from constellation.core.table.catalogue import Catalogue
from constellation.encoding import ID_BYTES
from constellation.errors import NotOwnerError, NotReadyError, ShardFullError
from constellation.federated.aggregate import AggregateVersion
from constellation.federated.trends import Trend, rank_trends
from constellation.placement import find_owner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from constellation.core.index.recall import Recall
    from constellation.core.recovery import RecoveredShard, SnapshotFiles
    from constellation.core.rules import Rules
    from constellation.core.store import PatternStore
    from constellation.core.table.hourly import HourlyRing
    from constellation.core.table.ownership import ShardIdentity
    from constellation.core.table.shard_table import Table
    from constellation.federated.aggregate import AggregateUpdate
    from constellation.federated.published import PublishedGlobal, StoredGlobal

log = structlog.get_logger(__name__)


class ShardManager:
    """One shard's knowledge. Used from one event loop; opened by `server.serve`."""

    def __init__(
        self,
        identity: ShardIdentity,
        rules: Rules,
        store: PatternStore,
        recovered: RecoveredShard,
        *,
        epoch: int,
        secret: bytes,
    ) -> None:
        self.identity = identity
        self.rules = rules
        self.store = store
        self.table: Table = recovered.table
        self.ring: HourlyRing = recovered.ring
        self.index = recovered.index
        self.catalogue = Catalogue(store, self.table)
        self.feeder = IndexFeeder(self.index, self.table.totals.lsn)
        self.similar = SimilarSearch(self.table, self.index, rules, secret)
        self.aggregates = Aggregates(self.table, self.ring, rules)
        self.global_state = GlobalState(
            time.time_ns() // 1_000_000, identity.region, rules.trend_limit
        )
        self.inbox = Inbox()
        self.stats = Stats()
        self.is_draining = False
        self.recall: Recall | None = None
        """What the last probe of the index found."""
        self.committer = Committer(
            self.table,
            self.ring,
            rules,
            store,
            CommitCollaborators(
                self.catalogue, self.feeder, self.aggregates, self.inbox, self.stats
            ),
            epoch=epoch,
        )
        self.on_published: Callable[[], None] = lambda: None
        self._adopt_lock = asyncio.Lock()

    @property
    def epoch(self) -> int:
        return self.committer.epoch

    def admit(self, device_id: bytes) -> None:
        """Return when a device may sync here.

        Raises NotReadyError while draining, NotOwnerError for another shard's device and
        ShardFullError for one device too many.
        """
        if self.is_draining:
            self.stats.shed["draining"] += 1
            raise NotReadyError("this shard is draining: connect again, on a new channel")
        self.require_owned(device_id)
        if self.table.totals.devices < self.rules.max_devices:
            return
        if self.table.find_device(device_id) < 0:
            self.stats.shed["devices"] += 1
            raise ShardFullError(
                f"shard {self.identity.shard_id} has {self.table.totals.devices} devices, "
                f"and MAX_DEVICES is {self.rules.max_devices}"
            )

    def require_owned(self, device_id: bytes) -> None:
        """Raise NotOwnerError for another shard's device."""
        shards = self.identity.shards
        if shards and (shard_id := find_owner(device_id, shards)) != self.identity.shard_id:
            raise NotOwnerError(shard_id, shards[shard_id])

    def find_cursor(self, device_id: bytes) -> Cursor | None:
        """Return a device's durable cursor."""
        slot = self.table.find_device(device_id)
        if slot < 0:
            return None
        row = self.table.devices[slot]
        return Cursor(int(row["incarnation"]), int(row["seq"]))

    def compute_expectation(
        self, device_id: bytes, incarnation: int, last_acked_seq: int
    ) -> Expectation:
        """Return what a device that says Hello is told about its numbering."""
        return compute_expectation(self.find_cursor(device_id), incarnation, last_acked_seq)

    async def expire_forever(self, ttl_seconds: float) -> None:
        """Delete devices that were silent for long, now and every hour. Runs until cancelled."""
        while True:
            try:
                await self.expire(ttl_seconds, time.time())
            except NotReadyError as error:  # the store is away or full: they wait
                log.warning("expiry_postponed", problem=str(error))
            await asyncio.sleep(min(3600.0, ttl_seconds))

    async def expire(self, ttl_seconds: float, now: float) -> int:
        """Delete devices silent since `ttl_seconds` before `now`; return how many."""
        expired = 0
        while count := await self.committer.expire(now - ttl_seconds):
            expired += count
            log.info("devices_expired", count=count)
        return expired

    async def measure_recall_forever(self, interval_seconds: float) -> None:
        """Measure the index's recall, again and again. Runs until cancelled."""
        random = np.random.default_rng()
        while True:
            self.recall = await asyncio.to_thread(
                measure_recall, self.table, self.index, self.rules, random
            )
            await asyncio.sleep(interval_seconds)

    async def publish_trends_forever(self, interval_seconds: float) -> None:
        """Work the trends out anew, and again. Runs until cancelled."""
        while True:
            await self.publish_trends(time.time())
            await asyncio.sleep(interval_seconds)

    async def publish_trends(self, now: float) -> None:
        """Work the trends out, and tell the streams when they changed."""
        trends = await asyncio.to_thread(self._compute_trends, int(now) // 3600)
        if self.global_state.set_local_trends(trends):
            log.info(
                "global_published", version=self.global_state.version.version, trends=len(trends)
            )
            self.on_published()

    def restore_global(self, published: PublishedGlobal) -> None:
        """Go on with the global that was stored before the start."""
        self.global_state.adopt(published)
        self.aggregates.set_anchors(published.anchors)

    async def adopt_global(self, stored: StoredGlobal, published: PublishedGlobal) -> bool:
        """Take the global of a later round: durably, then for the streams and the aggregates.

        Returns False for a round that is not later than the one held.
        """
        adopting = asyncio.create_task(self._adopt_global(stored, published), name="adopt_global")
        return await asyncio.shield(adopting)  # its caller may be cancelled, a write may not

    async def _adopt_global(self, stored: StoredGlobal, published: PublishedGlobal) -> bool:
        async with self._adopt_lock:
            if published.round <= self.global_state.round:
                return False
            await self.committer.put_global(stored)
            if self.global_state.adopt(published):
                self.on_published()
            self.aggregates.set_anchors(published.anchors)
        log.info(
            "global_adopted",
            generation=stored.generation,
            round_id=stored.round_id,
            clusters=len(published.clusters),
            trends=len(published.trends),
            codebook_version=published.anchors.version,
        )
        return True

    async def aggregate_since(
        self, base: int, candidate_limit: int, residual_cosine: float
    ) -> AggregateUpdate:
        """Return what changed in the aggregates after a version of this epoch.

        When `candidate_limit` is not 0, local clusters are among it, of patterns whose nearest
        anchor is further away than `residual_cosine`.
        """
        aggregates, run_paused = self.aggregates, self.committer.run_with_commits_paused
        await aggregates.wait_until_ready()
        origin = AggregateVersion(self.identity.shard_id, self.epoch, 0)
        update = await run_paused(
            lambda: aggregates.update_since(origin, base, self.identity.region)
        )
        if not candidate_limit:
            return update
        sample = await run_paused(lambda: aggregates.sample(residual_cosine))
        candidates = await asyncio.to_thread(aggregates.compute_candidates, sample, candidate_limit)
        return replace(update, candidates=candidates)

    async def write_snapshot(self, files: SnapshotFiles) -> None:
        """Keep the index as it is, so that the next start need not build it.

        An exact index is not kept: it is built at every start, and needs no log of changes.
        """
        lsn = self.feeder.lsn
        payload = await asyncio.to_thread(self.index.dump)
        try:
            if payload is not None:
                await asyncio.to_thread(files.write, lsn, payload)
            await self.committer.trim_change_log(lsn)
        except (OSError, NotReadyError) as error:  # a snapshot is a cache: the next one may fit
            log.warning("snapshot_failed", lsn=lsn, problem=str(error))
            return
        if payload is not None:
            self.stats.snapshot_at = time.time()
            log.info("snapshot_written", lsn=lsn, size_bytes=len(payload))

    async def write_snapshots_forever(self, files: SnapshotFiles, interval_seconds: float) -> None:
        """Keep a snapshot every so often. Runs until cancelled."""
        while True:
            await asyncio.sleep(interval_seconds)
            await self.write_snapshot(files)

    def count_active_devices(self, open_streams: Sequence[bytes], now: float) -> int:
        """Return the devices with an open stream, or synced within the active window."""
        rows = self.table.devices[: self.table.device_allocator.high_water]
        active = rows["synced_at"] >= now - self.rules.active_window_seconds
        if open_streams:
            ids = np.frombuffer(b"".join(open_streams), "<u8").reshape(-1, ID_BYTES // 8)
            slots = self.table.slots_by_device.find(ids)
            active[slots[(slots >= 0) & (slots < len(active))]] = True
        return int(np.count_nonzero(active))

    def _compute_trends(self, now_hour: int) -> list[Trend]:
        """Return the strongest contents and genres. Runs in a thread."""
        rules, vocabulary = self.rules, self.table.vocabulary
        contents, counts = self.ring.window(
            TermKind.CONTENT, now_hour, vocabulary.count(TermKind.CONTENT)
        )
        genres, genre_counts = self.ring.window(
            TermKind.GENRE, now_hour, vocabulary.count(TermKind.GENRE)
        )
        if not len(contents):
            return []
        shared = np.zeros(len(contents), bool)
        for devices in (counts.max(axis=0), self.table.support[contents]):
            shared[devices >= rules.k_anonymity] = True
        shared_genres = genre_counts.max(axis=0) >= rules.k_anonymity
        limit = rules.trend_limit
        by_content = rank_trends(counts, shared, rules.trend_decay_rate, rules.k_anonymity, limit)
        by_genre = rank_trends(
            genre_counts, shared_genres, rules.trend_decay_rate, rules.k_anonymity, limit // 5
        )
        return [
            Trend(
                vocabulary.text(TermKind.CONTENT, int(contents[i])),
                "",
                score,
                direction,
                popularity,
            )
            for i, score, direction, popularity in by_content[: limit - len(by_genre)]
        ] + [
            Trend("", vocabulary.text(TermKind.GENRE, int(genres[i])), score, direction, popularity)
            for i, score, direction, popularity in by_genre
        ]
