"""The dictionary: the content items whose pairs shards count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_CLEAR_MARGIN: Final = 1.25
"""A content item takes the place of one that has this many times fewer households, or none."""
_CHANGED_SHARE: Final = 0.05
"""The dictionary changes once more than this share of it would."""


@dataclass(frozen=True, slots=True)
class Dictionary:
    """A numbered list of content items; pairs name them by their positions in it."""

    version: int = 0
    """Grows with every change; 0 means that there is no dictionary."""
    content_ids: Sequence[str] = ()
    """Distinct."""


NO_DICTIONARY: Final = Dictionary()


def revise_dictionary(
    dictionary: Dictionary, households: Mapping[str, int], limit: int
) -> Dictionary:
    """Return the dictionary with the content items that most households like, at most `limit`.

    `households` has those that enough households like. A change makes every shard count its pairs
    anew, so the dictionary stays as it is until one of the newcomers has more households than half
    of its content items, or until more than a few of these would change. A content item that stays
    keeps its position as long as there are newcomers for the places that become free.
    """
    ranked = sorted(households, key=lambda each: (-households[each], each))
    if not dictionary.content_ids:
        return Dictionary(dictionary.version + 1, ranked[:limit]) if ranked else dictionary
    newcomers, leavers = _find_changes(dictionary, households, ranked, limit)
    if not _is_worth_a_change(dictionary, households, newcomers, leavers, limit):
        return dictionary
    return Dictionary(dictionary.version + 1, _replace(dictionary, newcomers, leavers))


def _find_changes(
    dictionary: Dictionary, households: Mapping[str, int], ranked: Sequence[str], limit: int
) -> tuple[list[str], list[str]]:
    """Return the content items to add, those with most households first, and those to remove."""
    present = set(dictionary.content_ids)
    staying = [each for each in ranked if each in present]
    leavers = [each for each in dictionary.content_ids if each not in households]
    leavers += staying[limit:]  # a lower limit than before
    staying = staying[:limit]
    outside = [each for each in ranked if each not in present]
    free = limit - len(staying)
    newcomers = outside[:free]
    for strongest, weakest in zip(outside[free:], reversed(staying), strict=False):
        if households[strongest] < _CLEAR_MARGIN * households[weakest]:
            break
        newcomers.append(strongest)
        leavers.append(weakest)
    return newcomers, leavers


def _is_worth_a_change(
    dictionary: Dictionary,
    households: Mapping[str, int],
    newcomers: Sequence[str],
    leavers: Sequence[str],
    limit: int,
) -> bool:
    size = len(dictionary.content_ids)
    if size > limit or max(len(newcomers), len(leavers)) > _CHANGED_SHARE * size:
        return True
    median = sorted(households.get(each, 0) for each in dictionary.content_ids)[size // 2]
    return bool(newcomers) and households[newcomers[0]] > median


def _replace(dictionary: Dictionary, newcomers: Sequence[str], leavers: Sequence[str]) -> list[str]:
    """Return the content items, the newcomers in the places of the leavers and then at the end."""
    gone, waiting = set(leavers), list(reversed(newcomers))
    replaced = []
    for each in dictionary.content_ids:
        if each not in gone:
            replaced.append(each)
        elif waiting:
            replaced.append(waiting.pop())
    return [*replaced, *reversed(waiting)]
