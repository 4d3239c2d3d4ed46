"""How many patterns are covered by shared patterns, after months in which patterns come and go.

A pattern that is removed dissolves its group, and what is left of the group is stale: it is covered
again only beside M patterns that never were in a group (`constellation/core/shared/epochs.py`).
This plays these rules for patterns of one taste, all of them near enough to each other, day by day:
`python -m quality.churn`.
"""

from __future__ import annotations

from random import Random
from typing import Final

from constellation.federated.floors import K_ANONYMITY, compute_min_members

DAYS: Final = 365
PATTERNS: Final = 3000
REMOVED_A_WEEK: Final = (0.001, 0.005, 0.01, 0.05)
"""Shares of the patterns that are removed in a week; as many new ones come."""


def simulate_coverage(removed_a_week: float, days: int = DAYS, seed: int = 1) -> list[float]:
    """Return the share of the patterns that are covered, after each day."""
    least, random = compute_min_members(K_ANONYMITY), Random(seed)  # noqa: S311  # no secret
    fresh, stale, groups = PATTERNS, 0, list[int]()
    covered: list[float] = []
    for _ in range(days):
        removed = sum(random.random() < removed_a_week / 7 for _ in range(PATTERNS))
        for _ in range(removed):
            place = random.randrange(fresh + stale + sum(groups))
            if place < fresh:
                fresh -= 1
            elif place < fresh + stale:
                stale -= 1
            else:
                stale += groups.pop(random.choices(range(len(groups)), groups)[0]) - 1
        fresh += removed
        formed, fresh = divmod(fresh, least)
        groups += [least] * formed
        for place in range(len(groups) - formed, len(groups)):
            joining = min(least, stale)  # a group has at most twice as many members
            groups[place] += joining
            stale -= joining
        covered.append(sum(groups) / PATTERNS)
    return covered


def main() -> None:
    """Print the share of covered patterns for several rates."""
    print(f"{'removed a week':>14} {'after 30 days':>14} {'after 90':>10} {'after a year':>13}")
    for share in REMOVED_A_WEEK:
        covered = simulate_coverage(share)
        print(f"{share:14.1%} {covered[29]:14.1%} {covered[89]:10.1%} {covered[-1]:13.1%}")


if __name__ == "__main__":
    main()
