"""What an epoch proposes: new groups, and the next revisions of groups that are published.

The promise: take any linear combination of what was ever published of embeddings. The latest
publication in it contains values of at least M = 2 K - 1 devices that are in no earlier one, all
with the same coefficient, so nothing less than a sum over M devices can be isolated; K of them are
honest when the other K - 1 are accomplices. Where origins are known, the same holds for origins: an
accomplice may then be a whole lot of devices. Three rules make it true:

- A group is formed of fresh patterns of at least M distinct devices, of M origins as far as there
  are so many (`Standing.require_support`). Stale ones may only be added.
- Nobody joins a group that is published. It keeps its bytes until members that are as many, and of
  as many origins, have other codes; then its next revision is computed from all that stay.
- A group that loses a member by erasure is dissolved, and what is left of it is stale.

Success rates and sample counts are published once, with a group's first revision, because fewer
than M of them may have changed when M embeddings have.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.index.vectors import to_vectors
from constellation.core.shared.merging import merge_groups
from constellation.core.shared.microaggregation import GroupLimits, PatternSources, form_groups
from constellation.core.shared.waiting import may_be_merged
from constellation.core.store import no_slots
from constellation.core.table.group_change import PublishedGroups, make_group_change
from constellation.core.table.groups import no_members
from constellation.core.table.stored_groups import hash_codes
from constellation.encoding import ID_BYTES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.core.rows import PatternRows, Slots
    from constellation.core.rules import Rules
    from constellation.core.shared.waiting import WaitingPatterns
    from constellation.core.table.group_change import GroupChange
    from constellation.core.table.groups import GroupMembers
    from constellation.core.table.shard_table import Table
    from constellation.core.table.standing import SupportFloor
    from constellation.encoding import Embeddings

MIN_COSINE: Final = 0.8
"""The least cosine of a member with its shared pattern when it is published."""


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """Groups to publish, computed beside the commits from rows that may have changed since."""

    rows: PatternRows
    """What is to be published of each group."""
    slots: Slots
    """Their members, one group's after another's."""
    sizes: NDArray[np.int64]
    lsns: NDArray[np.int64]
    """The lsn of each member's row when it was read."""
    groups: Slots
    """Their numbers; -1 for new groups."""
    leaving: Slots
    """Patterns that leave the groups."""

    def select(self, kept: NDArray[np.bool_]) -> Proposal:
        """Return the groups for which the mask `kept` is true."""
        members = np.repeat(kept, self.sizes)
        return replace(
            self,
            rows=self.rows[kept],
            slots=self.slots[members],
            sizes=self.sizes[kept],
            lsns=self.lsns[members],
            groups=self.groups[kept],
        )


class EpochSteps:
    """Proposes what an epoch changes, and makes it a change of the store once it is still true.

    Every method may take long and belongs in a worker thread.
    """

    def __init__(self, table: Table, rules: Rules, secret: bytes) -> None:
        self._table = table
        self._rules = rules
        self._secret = secret

    def read_vectors(self, slots: Slots) -> Embeddings:
        """Return the unit vectors of patterns; zeros for one that was removed meanwhile."""
        return to_vectors(self._table.patterns["codes"][slots])

    def propose_groups(
        self, waiting: WaitingPatterns, cell: NDArray[np.int64], now: float
    ) -> Proposal:
        """Return new groups among the waiting patterns at the positions of one cell."""
        slots = waiting.slots[cell]
        rows = self._table.patterns[slots]
        floor = self._require_support()
        found = form_groups(
            to_vectors(rows["codes"]),
            PatternSources(rows["device"].astype(np.int64), self._find_origins(rows)),
            waiting.is_fresh[cell] & (rows["sample_count"] > 0),
            GroupLimits(floor, self._table.groups.max_members, MIN_COSINE),
        )
        sizes = np.array([len(group) for group in found], np.int64)
        members = np.concatenate([no_slots(), *found])
        return Proposal(
            rows=self._merge(rows[members], sizes, floor, now),
            slots=slots[members],
            sizes=sizes,
            lsns=rows["lsn"][members],
            groups=np.full(len(sizes), -1, np.int64),
            leaving=no_slots(),
        )

    def propose_revisions(self, members: GroupMembers, now: float) -> tuple[Proposal, Slots]:
        """Return the next revision of those of the groups of which enough members changed.

        `members` are all members of the groups, and perhaps some that have left them since. Returns
        as well the groups of which too few members may still be merged.
        """
        table, floor = self._table, self._require_support()
        members = table.groups.keep_present(members)
        groups, slots, owners = members.groups, members.slots, members.positions
        rows = table.patterns[slots]
        changed = ~table.groups.is_counted(slots, hash_codes(rows["codes"]))
        may_stay = may_be_merged(table, self._rules, slots) & (rows["sample_count"] > 0)
        remaining = np.bincount(owners[may_stay], minlength=len(groups))
        stays = may_stay & self._is_near(rows, owners, may_stay, len(groups))
        revised = changed & stays
        is_due = floor.find_supported(
            owners[revised], self._find_origins(rows[revised]), len(groups)
        )
        chosen = stays & is_due[owners]
        sizes = np.bincount(owners[chosen], minlength=len(groups))[is_due]
        merged = self._merge(rows[chosen], sizes, floor, now)
        before = table.groups.rows[groups[is_due]]
        for name in ("success_rate", "sample_count", "created_at"):
            merged[name] = before[name]
        merged["reserved"] = 1
        proposal = Proposal(
            rows=merged,
            slots=slots[chosen],
            sizes=sizes,
            lsns=rows["lsn"][chosen],
            groups=groups[is_due],
            leaving=slots[~stays & is_due[owners]],
        )
        return proposal, groups[remaining < floor.devices]

    def make_change(self, proposal: Proposal) -> GroupChange:
        """Return the change that publishes what is still true of a proposal.

        Call it while nothing is committed. A group is left out when a row of a member changed since
        it was read, or a member does not count any more.
        """
        table, groups = self._table, self._table.groups
        rows = table.patterns
        is_true = rows["lsn"][proposal.slots] == proposal.lsns
        is_true &= table.counts_for_others(rows["device"][proposal.slots])
        owners = np.repeat(np.arange(len(proposal.sizes)), proposal.sizes)
        kept = np.bincount(owners[~is_true], minlength=len(proposal.sizes)) == 0
        known = proposal.groups >= 0
        kept[known] &= groups.rows["sample_count"][proposal.groups[known]] > 0
        numbers = proposal.groups.copy()
        new = kept & ~known
        numbers[new] = groups.allocator.peek(int(new.sum()))
        numbers, published = numbers[kept], proposal.rows[kept]
        lsn = table.totals.lsn + 1
        published["lsn"] = lsn
        ids = [_derive_id(self._secret, number, lsn) for number in numbers.tolist()]
        published["pattern_id"] = np.frombuffer(b"".join(ids), f"V{ID_BYTES}")
        leaving = proposal.leaving
        if len(leaving):
            leaving = leaving[np.isin(groups.owners[leaving], numbers + 1)]
        return make_group_change(
            table,
            PublishedGroups(numbers, published, proposal.slots[kept[owners]], proposal.sizes[kept]),
            no_members(),
            leaving,
        )

    def make_dissolution(self, members: GroupMembers) -> GroupChange:
        """Return the change that makes the dissolution of groups durable.

        `members` are all that are left in them, and perhaps some that are not any more.
        """
        return make_group_change(self._table, PublishedGroups(), members, no_slots())

    def _require_support(self) -> SupportFloor:
        """Return which devices must be behind each group, each of its revisions and names."""
        return self._table.standing.require_support(self._table.groups.min_members)

    def _find_origins(self, rows: PatternRows) -> NDArray[np.uint8]:
        """Return the origin number of each pattern's device; 0 if it does not count any more."""
        origins: NDArray[np.uint8] = self._table.standing.numbers[rows["device"]]
        return origins

    def _merge(
        self, rows: PatternRows, sizes: NDArray[np.int64], floor: SupportFloor, now: float
    ) -> PatternRows:
        origins, genres = self._find_origins(rows), self._table.public_genres
        return merge_groups(rows, sizes, origins, genres, floor=floor, now=now)

    def _is_near(
        self, rows: PatternRows, owners: NDArray[np.int64], stays: NDArray[np.bool_], count: int
    ) -> NDArray[np.bool_]:
        """Return which members are near their group: the sum of its members that stay."""
        vectors = to_vectors(rows["codes"])
        sums = np.zeros((count, vectors.shape[1]), np.float32)
        np.add.at(sums, owners[stays], vectors[stays])
        lengths = np.linalg.norm(sums, axis=1)
        cosines = np.einsum("ij,ij->i", vectors, sums[owners])
        near: NDArray[np.bool_] = cosines >= MIN_COSINE * lengths[owners]
        return near


def _derive_id(secret: bytes, group: int, lsn: int) -> bytes:
    """Return a keyed hash of a group and the lsn that published its revision."""
    revision = group.to_bytes(8, "little") + lsn.to_bytes(8, "little")
    return blake2b(revision, digest_size=ID_BYTES, key=secret).digest()
