"""The k-anonymity gate of aggregates: which clusters and terms a shard may send to a federation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from constellation.core.rows import TermKind, reserve
from constellation.core.table.vocabulary import TERM_LIMITS
from constellation.federated.aggregate import (
    CONTENTS_PER_CLUSTER,
    GENRES_PER_CLUSTER,
    ClusterRows,
    ClusterTerms,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.core.aggregates.codebook_sums import CodebookSums
    from constellation.core.rules import Rules
    from constellation.core.store import HourlyCounts
    from constellation.core.table.shard_table import Table
    from constellation.core.table.standing import SupportFloor
    from constellation.federated.fixed_point import Integers


class Disclosure:
    """Lets clusters and terms leave the shard once enough devices share them.

    A term that became exportable stays so: its later counts leave the shard even when they are
    small, and the version at which it became exportable is remembered.
    """

    def __init__(self, table: Table, rules: Rules) -> None:
        self.min_devices = 1 if rules.is_noised_only else rules.k_anonymity
        """Distinct devices that a cluster or a term must have.

        1 where the federation adds noise: with a floor, the device that reaches it would reveal the
        counts of all others, which is more than noise for one device hides.
        """
        self._table = table
        self._exportable_since = {
            kind: reserve(TERM_LIMITS[kind] + 1, np.dtype("<i8")) for kind in TermKind
        }
        """By term number: the version from which its hourly counts are exported; 0 for never."""

    def mark_exportable(self, counts: HourlyCounts, version: int) -> bool:
        """Export the hourly counts of newly exportable terms from `version` on.

        `counts` are the hourly counts that changed since the last call. A content item is
        exportable when enough devices support it; a genre, when the catalogue has it, because other
        genres are texts that a device sent. Where all known devices have one origin, a content item
        is also exportable once enough of them watched it within one hour: hourly counts do not say
        of which origins the devices are. Returns whether any term became exportable.
        """
        has_new = False
        for kind in TermKind:
            since = self._read_since(kind)
            is_known = self._is_shared(kind, np.arange(len(since)))
            if kind is TermKind.CONTENT and not self._counts_origins:
                chosen = counts.kinds == kind
                is_watched = counts.devices[chosen] >= self.min_devices
                is_known[counts.numbers[chosen][is_watched]] = True
            is_new = is_known & (since == 0)
            since[is_new] = version
            has_new |= bool(is_new[1:].any())  # 0 is no term
        return has_new

    def require_support(self) -> SupportFloor:
        """Return how many devices, and origins, a cluster or a term needs to leave the shard."""
        return self._table.standing.require_support(self.min_devices)

    def find_origins(self, devices: Integers) -> NDArray[np.uint8]:
        """Return the origin number with which each device counts."""
        origins: NDArray[np.uint8] = self._table.standing.numbers[devices]
        return origins

    def find_exportable_since(self, counts: HourlyCounts) -> Integers:
        """Return for each count the version from which its term is exported; 0 for never."""
        since = np.zeros(len(counts.hours), np.int64)
        for kind in TermKind:
            chosen = counts.kinds == kind
            since[chosen] = self._exportable_since[kind][counts.numbers[chosen]]
        return since

    def has_exportable_after(self, version: int) -> bool:
        """Return whether any term became exportable after a version."""
        return any(bool((self._read_since(kind) > version).any()) for kind in TermKind)

    def select_terms(
        self, kind: TermKind, rows: Integers, numbers: Integers, devices: Integers, limit: int
    ) -> ClusterTerms:
        """Return up to `limit` shared terms of each row, those of most devices first.

        `rows`, `numbers` and `devices` have shape (n,): counts of terms by row. Counts of row -1
        are dropped.
        """
        chosen = np.flatnonzero((rows >= 0) & self._is_shared(kind, numbers))
        rows, numbers, devices = rows[chosen], numbers[chosen], devices[chosen]
        order = np.lexsort((numbers, -devices, rows))
        rows, numbers, devices = rows[order], numbers[order], devices[order]
        rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
        rows, numbers, devices = (part[rank < limit] for part in (rows, numbers, devices))
        distinct, terms = np.unique(numbers, return_inverse=True)
        texts = [self._table.vocabulary.text(kind, number) for number in distinct.tolist()]
        return ClusterTerms(rows, terms, devices, texts)

    def select_clusters(self, sums: CodebookSums, base: int) -> ClusterRows:
        """Return the clusters that changed after version `base`.

        The row of a cluster with too few devices, or of devices of too few origins, leaves the
        shard as zeros, and only when it may replace an earlier row.
        """
        has_few = ~self.require_support().is_met(sums.features.devices, sums.count_origins())
        may_replace = sums.changed_at > sums.effective_since
        chosen = np.flatnonzero((sums.changed_at > base) & (~has_few | may_replace))
        new_rows = np.full(len(has_few), -1, np.int64)
        new_rows[chosen] = np.arange(len(chosen))
        new_rows[has_few] = -1
        features = sums.features.select(chosen)
        features.clear(has_few[chosen])
        return ClusterRows(
            sums.anchors.cluster_ids[chosen],
            sums.changed_at[chosen],
            features,
            self._select_cluster_terms(sums, TermKind.GENRE, new_rows, GENRES_PER_CLUSTER),
            self._select_cluster_terms(sums, TermKind.CONTENT, new_rows, CONTENTS_PER_CLUSTER),
        )

    def _select_cluster_terms(
        self, sums: CodebookSums, kind: TermKind, new_rows: Integers, limit: int
    ) -> ClusterTerms:
        clusters, numbers, devices = sums.terms.select_kind(kind)
        return self.select_terms(kind, new_rows[clusters], numbers, devices, limit)

    @property
    def _counts_origins(self) -> bool:
        return self.require_support().origins > 1

    def _is_shared(self, kind: TermKind, numbers: Integers) -> NDArray[np.bool_]:
        """Return which terms are in the catalogue, for genres, or have enough support."""
        if kind is TermKind.GENRE:
            return self._table.public_genres[numbers]
        return self._table.has_support(numbers, self.min_devices)

    def _read_since(self, kind: TermKind) -> Integers:
        """Return a view of the versions of all terms of a kind, by number."""
        since: Integers = self._exportable_since[kind][: self._table.vocabulary.count(kind) + 1]
        return since
