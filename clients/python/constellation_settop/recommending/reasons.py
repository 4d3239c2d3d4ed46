"""Reasons: why a content item is recommended, in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from constellation_settop.values import Scope

if TYPE_CHECKING:
    from constellation_settop.recommending.catalogue import Catalogue
    from constellation_settop.recommending.shared_taste import SharedTaste
    from constellation_settop.values import Cluster, Pattern


def explain_related(catalogue: Catalogue, shared: SharedTaste, row: int) -> str:
    """Name the liked content item that contributes most."""
    liked_row = catalogue.find_row(shared.related.find_main_reason(row))
    title = "" if liked_row is None else catalogue.title(liked_row)
    if not title:
        return "Households that liked what you liked, liked this as well"
    return f"Because you liked {title}, as households who liked this did"


def explain_own(catalogue: Catalogue, nearest: Pattern) -> str:
    """Name the newest titled content item that the nearest own pattern was learned from."""
    for content_id in reversed(nearest.content_ids):
        row = catalogue.find_row(content_id)
        if row is not None and (title := catalogue.title(row)):
            return f"Because you watched {title}"
    return "Close to what you like to watch"


def explain_trend(shared: SharedTaste, row: int) -> str:
    """Say where a content item, or one of its genres, trends."""
    trend = shared.trend_by_row.get(row)
    if trend is None:
        return "In a genre many are watching now"
    is_regional = trend.region and trend.scope is not Scope.GLOBAL
    return f"Trending in {trend.region}" if is_regional else "Trending everywhere"


def explain_popular(shared: SharedTaste, row: int) -> str:
    """Say where a content item is popular."""
    region = shared.regions_by_row[row]
    return f"Popular in {region}" if region else "Popular everywhere"


def explain_cluster(cluster: Cluster) -> str:
    """Describe the households of a cluster by its first genre, if it has one."""
    genres = cluster.pattern.genres
    return (
        f"Popular with households that like {genres[0]}"
        if genres
        else "Popular with many households"
    )
