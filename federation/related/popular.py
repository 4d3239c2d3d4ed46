"""Popular content: what most households of a region like, or of all regions."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LIST_LENGTH: Final = 100
"""A list has at most this many content items."""
_CHANGED_SHARE: Final = 0.05
"""A list is published anew once its households changed by more than this share of their sum."""
MAX_REGIONS: Final = 256
"""At most this many regions have a list of their own."""
_DIGITS: Final = 2
"""Households are published with this many significant digits, so that a list that hardly changed
stays the same, and devices do not receive it again."""
_ID_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class PopularList:
    """The content items that most households like."""

    region: str
    """Empty for all regions."""
    content_ids: tuple[str, ...]
    """Those with the most households first; ties by content id."""
    households: tuple[int, ...]
    """How many households like each, rounded down to two significant digits."""

    def to_counts(self) -> dict[str, int]:
        """Return how many households like each content item."""
        return dict(zip(self.content_ids, self.households, strict=True))

    def make_id(self) -> bytes:
        """Return the id of this revision, 16 bytes: the same for the same list anywhere."""
        parts = [self.region, *self.content_ids, *(str(each) for each in self.households)]
        return sha256("\0".join(parts).encode()).digest()[:_ID_BYTES]


def make_lists(
    everywhere: Mapping[str, int],
    regions: Mapping[str, Mapping[str, int]],
    published: Sequence[PopularList] = (),
    least_change: int = 1,
) -> Sequence[PopularList]:
    """Return the list of all regions, then that of each region; a list is never empty.

    The mappings have the content items that enough households like, with their number. A number
    that differs from the one in `published` by less than `least_change` stays as it was published,
    so that nobody who compares two rounds sees what one household began or ceased to like. A list
    that hardly changed stays as it was, unless it names what too few households like by now.
    With a `least_change` of 1, nobody is hidden, and every change is published.
    """
    before = {each.region: each for each in published}

    def rank(region: str, households: Mapping[str, int]) -> PopularList:
        known = before.get(region, PopularList(region, (), ()))
        ranked = _rank(region, households, known.to_counts(), least_change)
        may_stay = least_change > 1 and households.keys() >= set(known.content_ids)
        return known if may_stay and _is_similar(known, ranked) else ranked

    lists = [rank("", everywhere)]
    lists += [rank(region, regions[region]) for region in sorted(regions)[:MAX_REGIONS]]
    return [each for each in lists if each.content_ids]


def _is_similar(known: PopularList, ranked: PopularList) -> bool:
    before, after = known.to_counts(), ranked.to_counts()
    change = sum(abs(before.get(each, 0) - after.get(each, 0)) for each in before | after)
    return change <= _CHANGED_SHARE * sum(before.values())


def _rank(
    region: str, households: Mapping[str, int], before: Mapping[str, int], least_change: int
) -> PopularList:
    rounded = {content_id: round_down(count) for content_id, count in households.items()}
    for content_id, count in rounded.items():
        known = before.get(content_id, count)
        if abs(count - known) < least_change:
            rounded[content_id] = known
    ranked = sorted(rounded, key=lambda each: (-rounded[each], each))[:LIST_LENGTH]
    return PopularList(region, tuple(ranked), tuple(rounded[each] for each in ranked))


def round_down(count: int) -> int:
    """Return the count with its first two significant digits, the others as 0."""
    unit = 10 ** max(len(str(count)) - _DIGITS, 0)
    return int(count // unit * unit)
