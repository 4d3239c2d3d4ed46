"""Verification: computes again what was published of groups, and says what differs.

A store proves by a digest that its groups are those that were written. This proves that what was
written keeps the promise, and, when the digest is wrong, says which shared patterns are damaged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.rows import BLOCK_ROWS, TermKind
from constellation.core.shared.named_embeddings import NamedEmbeddings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from constellation.core.rows import Slots
    from constellation.core.store import StoreReader
    from constellation.core.table.groups import GroupMembers
    from constellation.core.table.shard_table import Table

_GROUPS: Final = BLOCK_ROWS // 16
"""Groups that are computed at once."""
_CONTENT_BITS: Final = np.int64(32)


def verify_names(table: Table) -> list[str]:
    """Return how shared patterns name content items that too few of their members have.

    Groups with a member that changed since are left out: what is shown of them is of earlier rows.
    Looks at every pattern: belongs in a worker thread.
    """
    groups = table.groups
    unsupported: list[tuple[int, int, int]] = []
    for members in groups.find_members(groups.find_published()).divide(_GROUPS):
        unsupported += _find_unsupported(table, members)
    if not unsupported:
        return []
    group, content, count = unsupported[0]
    name = table.vocabulary.text(TermKind.CONTENT, content)
    problem = (
        f"{len(unsupported)} names in shared patterns have too few members behind them: the first "
        f"is {name!r} in group {group}, which {count} of its members have, and "
        f"{groups.rows['device'][group]} must"
    )
    return [problem]


async def verify_embeddings(store: StoreReader, table: Table) -> list[str]:
    """Return which shared patterns have other embeddings than the sum of what they name.

    One that was published before its content items got other embeddings in the catalogue differs as
    well, so a difference alone proves no damage.
    """
    embeddings = NamedEmbeddings(store, table)
    differing: list[int] = []
    for groups in _divide(_find_protected(table)):
        rows = table.groups.rows[groups]
        published = rows["codes"].copy()
        await embeddings.set_codes(rows)
        differs = (rows["codes"] != published).any(axis=1)
        differing += groups[differs].tolist()
    if not differing:
        return []
    problem = (
        f"{len(differing)} shared patterns have other embeddings than what they name, the first in "
        f"group {differing[0]}: they are damaged, or the catalogue changed since"
    )
    return [problem]


def _find_protected(table: Table) -> Slots:
    """Return the published groups that name nothing of fewer than two devices.

    Without protection, K_ANONYMITY=1, a pattern is published as it is.
    """
    published = table.groups.find_published()
    return published[table.groups.rows["device"][published] > 1]


def _divide(groups: Slots) -> Iterator[Slots]:
    return (groups[start : start + _GROUPS] for start in range(0, len(groups), _GROUPS))


def _find_unsupported(table: Table, members: GroupMembers) -> list[tuple[int, int, int]]:
    """Return each group, named content number, and how many members have it, if too few have."""
    published, rows = table.groups.rows[members.groups], table.patterns[members.slots]
    is_newer = rows["lsn"] > published["lsn"][members.positions]
    is_known = np.bincount(members.positions[is_newer], minlength=len(published)) == 0
    supports, counts = np.unique(
        _pack_distinct(members.positions, rows["contents"]), return_counts=True
    )
    places, columns = np.nonzero((published["contents"] > 0) & is_known[:, None])
    named = published["contents"][places, columns].astype(np.int64)
    keys = (places << _CONTENT_BITS) | named
    found = np.minimum(np.searchsorted(supports, keys), max(len(supports) - 1, 0))
    is_found = supports[found] == keys if len(supports) else np.zeros(len(keys), np.bool_)
    behind = np.where(is_found, counts[found] if len(counts) else 0, 0)
    too_few = behind < published["device"][places]
    return list(
        zip(
            members.groups[places[too_few]].tolist(),
            named[too_few].tolist(),
            behind[too_few].tolist(),
            strict=True,
        )
    )


def _pack_distinct(positions: NDArray[np.int64], contents: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Return the (group, content) of each content item of each member, once for each member."""
    ordered = np.sort(contents, axis=1).astype(np.int64)
    is_first = ordered > 0
    is_first[:, 1:] &= ordered[:, 1:] != ordered[:, :-1]
    keys: NDArray[np.int64] = ((positions << _CONTENT_BITS)[:, None] | ordered)[is_first]
    return keys
