"""ShardManager: composes the parts of one shard, and answers for it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import structlog

from constellation.core.admission import Admission
from constellation.core.aggregates.shard_aggregates import Aggregates
from constellation.core.device_update import (
    ClusterChoice,
    SimilarBasis,
    SimilarChoice,
    compute_device_update,
)
from constellation.core.global_state import GlobalState, compute_local_trends
from constellation.core.index.recall import measure_recall
from constellation.core.index.similar import NO_PATTERNS, SimilarSearch
from constellation.core.ingest.committer import Committer
from constellation.core.ingest.cursors import Cursor, Expectation, compute_expectation
from constellation.core.ingest.inbox import Inbox, InboxEntry, WaitingCaller
from constellation.core.ingest.observers import ShardObservers
from constellation.core.ingest.plan import Planner
from constellation.core.ingest.store_writer import CommitTargets
from constellation.core.lifetimes import DeviceLifetimes
from constellation.core.presence import Presence
from constellation.core.pressure import Pressure, PressureLevel
from constellation.core.related_content import PopularChoice, RelatedContent, choose_popular
from constellation.core.shared.pattern_sharing import PatternSharing
from constellation.core.shared.shown_clusters import show_clusters
from constellation.core.snapshot_writer import SnapshotWriter
from constellation.core.table.catalogue import Catalogue
from constellation.core.table.contributors import ContributorSample
from constellation.core.table.origins import UNKNOWN_ORIGIN, DeviceOrigin, OriginHasher
from constellation.errors import ConfigError, NotReadyError
from constellation.federated.aggregate import AggregateVersion
from constellation.tasks import finish_even_if_cancelled
from constellation.wall_clock import read_clock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from constellation.core.aggregates.like_counts import LikedCounts
    from constellation.core.device_update import DeviceUpdate, HeldState
    from constellation.core.index.recall import Recall
    from constellation.core.ingest.deltas import Delta, Receipt
    from constellation.core.recovery import RecoveredShard
    from constellation.core.rules import Rules
    from constellation.core.store import PatternStore
    from constellation.core.table.hourly import HourlyRing
    from constellation.core.table.ownership import ShardIdentity
    from constellation.core.table.shard_table import Table
    from constellation.federated.aggregate import AggregateUpdate
    from constellation.federated.published import PublishedGlobal, StoredGlobal

log = structlog.get_logger(__name__)


class ShardManager:
    """One shard. Used from one event loop; `server.serve` builds it and runs its tasks."""

    def __init__(
        self,
        identity: ShardIdentity,
        rules: Rules,
        store: PatternStore,
        recovered: RecoveredShard,
        observers: ShardObservers | None = None,
        *,
        epoch: int,
    ) -> None:
        observers = observers or ShardObservers()
        self.identity = identity
        self.rules = rules
        self.store = store
        self.table: Table = recovered.table
        self.ring: HourlyRing = recovered.ring
        self.index = recovered.index
        self.catalogue = Catalogue(store, self.table, rules.max_contents)
        self.similar = SimilarSearch(self.table, self.index)
        self.related = RelatedContent(self.table)
        self.sample = ContributorSample(recovered.secret, rules.related_sample)
        self.presence = Presence(self.table)
        self.aggregates = Aggregates(self.table, self.ring, rules)
        self.global_state = GlobalState(
            time.time_ns() // 1_000_000, identity.region, rules.trend_limit
        )
        self.inbox = Inbox()
        self.pressure = Pressure()
        """Replaced by the composition root, which knows the limits of memory and disk."""
        self.stats = observers.stats
        self.admission = Admission(identity, rules, self.table, self.stats)
        self.origins = OriginHasher(recovered.secret)
        self.tracer = observers.tracer
        self.recall: Recall | None = None
        """The result of the last probe of the index; None before the first."""
        self.committer = Committer(
            Planner(self.table, self.ring, rules, self.sample),
            store,
            self.inbox,
            CommitTargets(self.catalogue, self.aggregates, self.related),
            observers,
            epoch=epoch,
        )
        self.sharing = PatternSharing(
            self.table, self.index, rules, self.committer, store, recovered.secret
        )
        self.lifetimes = DeviceLifetimes(self.table, self.presence, self.committer)
        self.snapshots = SnapshotWriter(self.index, self.sharing, self.stats)
        self._updates = observers.updates
        self._adopt_lock = asyncio.Lock()
        self._count_lock = asyncio.Lock()
        """Held while liked content is counted: a second count would occupy the other core as
        well."""

    @property
    def epoch(self) -> int:
        return self.committer.epoch

    @property
    def is_draining(self) -> bool:
        """Whether new devices are turned away because the process ends."""
        return self.admission.is_draining

    def drain(self) -> None:
        """Turn every new device away from now on."""
        self.admission.is_draining = True

    def admit(self, device_id: bytes, origin: DeviceOrigin = UNKNOWN_ORIGIN) -> None:
        """Return when a device may sync with this shard; `Admission.admit` says what it raises."""
        self.admission.admit(device_id, self.pressure, origin)

    def take_pressure(self, level: PressureLevel) -> None:
        """Read no streams while memory or disk are about to run out."""
        if level >= PressureLevel.NO_DELTAS:
            self.inbox.pause()
        else:
            self.inbox.resume()

    def require_owned(self, device_id: bytes) -> None:
        """Raise NotOwnerError for a device of another shard."""
        self.admission.require_owned(device_id)

    def find_cursor(self, device_id: bytes) -> Cursor | None:
        """Return the durable cursor of a device; None for an unknown device."""
        slot = self.table.find_device(device_id)
        if slot < 0:
            return None
        row = self.table.devices[slot]
        return Cursor(int(row["incarnation"]), int(row["seq"]))

    def compute_expectation(
        self, device_id: bytes, incarnation: int, last_acked_seq: int
    ) -> Expectation:
        """Return what a device that says Hello should send next."""
        return compute_expectation(self.find_cursor(device_id), incarnation, last_acked_seq)

    async def apply(self, delta: Delta) -> Receipt:
        """Commit one delta, as `apply_all` does, and return its receipt."""
        (receipt,) = await self.apply_all([delta])
        return receipt

    async def apply_all(self, deltas: Sequence[Delta]) -> list[Receipt]:
        """Commit deltas of one device; return their receipts once all of them are durable.

        Waits while the inbox is full. Raises ShardFullError when there is no room for a new device,
        and NotReadyError when a delta was not committed: the device sends them again, and those
        that were committed are duplicates then.
        """
        await self.inbox.wait_for_room()
        caller = WaitingCaller(len(deltas), self.tracer.find_current_trace())
        now = asyncio.get_running_loop().time()
        for delta in deltas:
            self.inbox.put(InboxEntry(delta, caller, now))
        return await caller.receipts

    async def find_update(self, device_id: bytes, held: HeldState, capacity: int) -> DeviceUpdate:
        """Return what a device lacks of the global state and of its similar patterns.

        There are no similar patterns where devices get only what has noise.

        `capacity` is how many similar patterns, and clusters, the device can hold.
        """
        device = self.table.find_device(device_id)
        basis = self._find_basis(device, capacity)
        if self.rules.is_noised_only or basis == held.basis:
            taste, similar = self.similar.compute_taste(device), NO_PATTERNS
        else:
            found = await self.similar.search_near(device_id, capacity)
            taste, similar = found.queries, found.patterns
        trends = self.global_state.change_since(held.version)
        choice: ClusterChoice | None = None
        popular = PopularChoice(removed=held.popular)
        if (published := self.global_state.published) is not None:
            positions = published.find_nearest_clusters(taste, capacity).tolist()
            choice = ClusterChoice(published.clusters, positions)
            popular = choose_popular(published.popular, self.identity.region, held.popular)
        related = self.related.choose(self.table.find_device(device_id), held.related)
        return compute_device_update(
            held, trends, SimilarChoice(similar, basis), choice, related, popular
        )

    def _find_basis(self, device: int, capacity: int) -> SimilarBasis | None:
        """Return what the similar patterns of a device depend on; None for an unknown device."""
        if device < 0:
            return None
        table, row = self.table, self.table.devices[device]
        return SimilarBasis(
            table.totals.group_digest,
            table.groups.count,
            self.sharing.lsn,
            int(row["incarnation"]),
            int(row["seq"]),
            capacity,
        )

    async def set_quarantine(self, device_id: bytes, *, quarantined: bool) -> bool:
        """Put a device into quarantine, or lift it; return whether that changed anything.

        It goes on syncing, and what it sends is stored, but nothing of it reaches others. Raises
        NotFoundError for an unknown device.
        """
        return await self.committer.set_quarantine(device_id, quarantined=quarantined)

    async def delete_device(self, device_id: bytes) -> int:
        """Delete a device with its patterns durably; return how many patterns it had.

        Shared patterns in which its patterns were merged are gone as well when this returns. A new
        snapshot of the index soon replaces the one that still contains the patterns. Raises
        NotFoundError for an unknown device.
        """
        try:
            count = await self.committer.delete_device(device_id)
            await self.sharing.dissolve()
            return count
        finally:  # also when the answer of an earlier deletion was lost
            self.snapshots.request()

    async def share_patterns(self, now: float) -> None:
        """Run an epoch of shared patterns, and send devices what changed for them."""
        if await self.sharing.run_epoch(now):
            self._updates.queue_all()

    async def share_patterns_forever(self, interval_seconds: float) -> None:
        """Run an epoch now and then after every interval. Runs until cancelled."""
        while True:
            try:
                await self.share_patterns(read_clock())
            except NotReadyError as error:  # the store is unavailable or full
                log.warning("epoch_postponed", problem=str(error))
            await asyncio.sleep(interval_seconds)

    async def measure_recall_forever(self, interval_seconds: float) -> None:
        """Measure the recall of the index again and again. Runs until cancelled."""
        random = np.random.default_rng()
        while True:
            self.recall = await asyncio.to_thread(
                measure_recall, self.table.groups, self.index, random
            )
            await asyncio.sleep(interval_seconds)

    async def publish_trends_forever(self, interval_seconds: float) -> None:
        """Publish the shard's own trends again and again. Runs until cancelled."""
        while True:
            await self.publish_trends(read_clock())
            await asyncio.sleep(interval_seconds)

    async def publish_trends(self, now: float) -> None:
        """Compute the shard's own trends, and send them to devices when they changed.

        Where devices get only what has noise, there are none: the federation has spent the budget.
        """
        if self.rules.is_noised_only:
            return
        trends = await asyncio.to_thread(
            compute_local_trends, self.table, self.ring, self.rules, int(now) // 3600
        )
        if self.global_state.set_local_trends(trends):
            log.info(
                "global_published", version=self.global_state.version.version, trends=len(trends)
            )
            self._updates.queue_all()

    async def restore_global(self, published: PublishedGlobal) -> None:
        """Continue with the federation's global state that was stored before the start."""
        if published.is_noised or not self.rules.is_noised_only:
            await self._serve_global(published)

    async def _serve_global(self, published: PublishedGlobal) -> bool:
        """Use a global state from now on; return whether that makes a new version for devices.

        Without any protection, K_ANONYMITY=1, clusters are shown as they were published.
        """
        if self.table.groups.min_members > 1:
            shown = await show_clusters(published.clusters, self.sharing.embeddings)
            published = replace(published, clusters=shown)
        self.related.adopt(published.related)
        self.aggregates.liked.set_dictionary(published.dictionary)
        self.aggregates.set_anchors(published.anchors)
        return self.global_state.adopt(published)

    async def adopt_global(self, stored: StoredGlobal, published: PublishedGlobal) -> bool:
        """Store the global state of a later round, and use it for devices and aggregates.

        Returns False when the round is not later than the present one. Finishes even when the
        caller is cancelled. Raises ConfigError for a global state without noise where devices get
        only what has noise.
        """
        if self.rules.is_noised_only and not published.is_noised:
            raise ConfigError(
                "DIFFERENTIAL_PRIVACY is 1 at this shard, but the federation published without "
                "noise: set its PRIVACY_EPSILON"
            )
        return await finish_even_if_cancelled(self._adopt_global(stored, published), "adopt_global")

    async def _adopt_global(self, stored: StoredGlobal, published: PublishedGlobal) -> bool:
        async with self._adopt_lock:
            if published.round <= self.global_state.round:
                return False
            await self.committer.put_global(stored)
            if await self._serve_global(published):
                self._updates.queue_all()
        log.info(
            "global_adopted",
            generation=stored.generation,
            round_id=stored.round_id,
            clusters=len(published.clusters),
            trends=len(published.trends),
            related=len(published.related),
            popular=len(published.popular),
            codebook_version=published.anchors.version,
        )
        return True

    async def read_aggregate_since(
        self,
        base: int,
        candidate_limit: int,
        residual_cosine: float,
        *,
        include_likes: bool = False,
    ) -> AggregateUpdate:
        """Return what changed in the aggregate after version `base` of this epoch.

        When `candidate_limit` is not 0, the update holds up to that many candidates: clusters of
        the patterns whose cosine with their nearest anchor is below `residual_cosine`.
        """
        aggregates, run_paused = self.aggregates, self.committer.run_with_commits_paused
        await aggregates.wait_until_ready()
        if include_likes:
            async with self._count_lock:
                copy = await run_paused(aggregates.liked.copy)
                counts = await asyncio.to_thread(aggregates.liked.count, copy)
                update = await self._update_since(base, counts)
        else:
            update = await self._update_since(base)
        if not candidate_limit:
            return update
        sample = await run_paused(lambda: aggregates.sample(residual_cosine))
        candidates = await asyncio.to_thread(aggregates.compute_candidates, sample, candidate_limit)
        return replace(update, candidates=candidates)

    async def _update_since(self, base: int, counts: LikedCounts | None = None) -> AggregateUpdate:
        origin = AggregateVersion(self.identity.shard_id, self.epoch, 0)
        region = self.identity.region
        return await self.committer.run_with_commits_paused(
            lambda: self.aggregates.update_since(origin, base, region, counts)
        )

    async def remove_other_liked(self) -> None:
        """Delete the liked content of devices that do not, or no longer, contribute.

        There is some after RELATED_SAMPLE was lowered, and after an import, because each store has
        a sample of its own.
        """
        devices = self.table.liked.list_devices()
        ids = self.table.devices["device_id"][devices]
        contributes = [self.sample.contains(each.tobytes()) for each in ids]
        removed = devices[~np.array(contributes, bool)]
        await self.committer.remove_liked(removed)
        if len(removed):
            log.info("liked_removed", devices=len(removed), related_sample=self.sample.share)

    def count_active_devices(self, connected_ids: Sequence[bytes], now: float) -> int:
        """Return how many devices are connected, or synced within the active window."""
        synced_since = now - self.rules.active_window_seconds
        return self.table.count_active_devices(connected_ids, synced_since)
