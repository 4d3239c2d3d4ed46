"""The result of a round in the differentially private mode: everything in it has noise.

It has trends, popular content and related content. It has no clusters, because each would need
thousands of devices for its sums to stand out from the noise, and nothing for single regions, which
would be a second release of the same data.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import structlog

from constellation.encoding import DIMENSION
from constellation.federated.contribution import ContributionBounds, combine_bounds
from constellation.federated.likes import DictionaryKey
from constellation.federated.trends import WINDOW_HOURS
from constellation.federated.weeks import find_week
from federation.merge.codebook import Codebook
from federation.merge.hourly_counts import SECONDS_PER_HOUR
from federation.merge.result import FederatedTrend, ModelState, RoundResult
from federation.merge.trends import find_summed_trends
from federation.privacy.budget import Mechanism
from federation.privacy.releases import release_named_counts, release_pairs
from federation.privacy.state import NoisedState
from federation.related.dictionary import Dictionary, revise_dictionary
from federation.related.noised import solve_noised_rows
from federation.related.popular import make_lists
from federation.related.result import RelatedResult, RelatedState
from federation.related.solve import sum_pairs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.merge.aggregates import ShardAggregate
    from federation.merge.result import RoundInputs, RoundRules
    from federation.merge.trends import TrendRules
    from federation.privacy.mode import ReleasePlan
    from federation.related.shard_likes import ShardLikes

_GRACE_HOURS: Final = 2
"""An hour is released once this many hours have begun after it, so that devices could report it.
Later reports are not counted: the same hour is never released twice."""
log = structlog.get_logger(__name__)


def compute_noised_result(
    inputs: RoundInputs, model_state: ModelState, rules: RoundRules, plan: ReleasePlan
) -> tuple[RoundResult, RelatedResult | None]:
    """Return the result of a round, and related content if it asked for likes.

    `plan` receives what the releases spend.

    Nothing of it may be published before the rows of `plan` are durable. What cannot be released,
    because the week's budget is spent, stays as it was last published.
    """
    aggregates = select_private(inputs.aggregates)
    state = model_state.noised
    known = model_state.related
    if state is None:  # what was published before has no noise
        state = NoisedState()
        known = RelatedState(Dictionary(known.dictionary.version))
    state = _release_hours(aggregates, inputs, state, plan)
    related = None
    if inputs.has_likes:
        state = _release_likes(aggregates, inputs, state, rules, plan)
        related = _compute_related(aggregates, inputs, state, known, rules, plan)
        known = related.state
    result = RoundResult(
        no_codebook(),
        {},
        (),
        _find_trends(state, rules.trends),
        ModelState(related=known, noised=state),
    )
    return result, related


def no_codebook() -> Codebook:
    return Codebook(0, np.empty(0, np.uint32), np.empty((0, DIMENSION), np.float32), 1)


def select_private(aggregates: Sequence[ShardAggregate]) -> list[ShardAggregate]:
    """Return the aggregates of the shards that count completely and say their bounds.

    A shard that leaves out what few devices share would make one more device reveal the counts of
    several: no noise that is calibrated to one device hides that.
    """
    private = []
    for each in aggregates:
        if each.header.is_complete and each.header.hourly_limit:
            private.append(each)
        else:
            log.warning(
                "shard_left_out",
                shard_id=each.version.shard_id,
                problem="it is not in the differentially private mode: set DIFFERENTIAL_PRIVACY=1",
            )
    return private


def _release_hours(
    aggregates: Sequence[ShardAggregate],
    inputs: RoundInputs,
    state: NoisedState,
    plan: ReleasePlan,
) -> NoisedState:
    """Return the state with the hours that are complete and were not released before."""
    newest = inputs.stamp.closed_at // SECONDS_PER_HOUR - _GRACE_HOURS
    released = plan.ledger.find_newest_epoch(Mechanism.HOURS)
    first = newest if released is None else max(released + 1, newest - WINDOW_HOURS + 1)
    bounds = combine_bounds(ContributionBounds(0, each.header.hourly_limit) for each in aggregates)
    hours = {h: names for h, names in state.hours.items() if h > newest - WINDOW_HOURS}
    scale = state.hour_scale if hours else 0.0
    texts = inputs.terms.contents.texts
    for hour in range(first, newest + 1) if bounds.signals_per_hour else ():
        row = plan.spend(Mechanism.HOURS, hour, bounds)
        if row is None:
            break
        counts = np.zeros(len(texts), np.int64)
        for each in aggregates:
            is_content = each.hours.subjects >= 0  # the genres of one device have no bound
            column = each.hours.align_to(hour)[-1][is_content]
            counts[each.hours.subjects[is_content]] += column.astype(np.int64)
        threshold = plan.budget.compute_threshold(Mechanism.HOURS, bounds)
        hours[hour] = release_named_counts(
            texts, counts, threshold, row.scale, plan.noise.add_noise
        )
        scale = max(scale, row.scale)
    return replace(state, hours=hours, hour_scale=scale)


def _release_likes(
    aggregates: Sequence[ShardAggregate],
    inputs: RoundInputs,
    state: NoisedState,
    rules: RoundRules,
    plan: ReleasePlan,
) -> NoisedState:
    """Return the state with this week's likes of content items, unless they were released."""
    week = find_week(plan.now)
    contributing = _select_contributing(aggregates)
    if plan.ledger.has(Mechanism.LIKES, week) or not contributing:
        return state
    bounds = _combine_liked(contributing)
    row = plan.spend(Mechanism.LIKES, week, bounds)
    if row is None:
        return state
    counts = np.zeros(len(inputs.terms.contents.texts), np.int64)
    for likes in contributing:
        counts[likes.contents] += likes.devices  # a shard has each content item once
    least = plan.budget.compute_threshold(Mechanism.LIKES, bounds)
    return replace(
        state,
        likes=release_named_counts(
            inputs.terms.contents.texts,
            counts,
            max(least, rules.related.min_households),
            row.scale,
            plan.noise.add_noise,
        ),
    )


def _compute_related(
    aggregates: Sequence[ShardAggregate],
    inputs: RoundInputs,
    state: NoisedState,
    known: RelatedState,
    rules: RoundRules,
    plan: ReleasePlan,
) -> RelatedResult:
    """Return related and popular content, with this week's pairs once all shards count them."""
    week = find_week(plan.now)
    contributing = _select_contributing(aggregates)
    dictionary = revise_dictionary(known.dictionary, state.likes, rules.related.dictionary_limit)
    key = DictionaryKey(inputs.stamp.generation, known.dictionary.version)
    is_counted = (
        bool(contributing)
        and dictionary == known.dictionary
        and all(likes.dictionary == key for likes in contributing)
    )
    rows, solved_at = list(known.rows), known.solved_at
    if is_counted and dictionary.content_ids and not plan.ledger.has(Mechanism.PAIRS, week):
        row = plan.spend(Mechanism.PAIRS, week, _combine_liked(contributing))
        if row is not None:
            size = len(dictionary.content_ids)
            gram = sum_pairs(np.zeros(size, np.int64), [each.pairs for each in contributing])
            noised = release_pairs(gram, row.scale, plan.noise.add_noise)
            rows = solve_noised_rows(
                dictionary.content_ids, state.likes, noised, row.scale, known.rows, rules.related
            )
            solved_at = plan.now
    before = {row.content_id: row for row in known.rows}
    return RelatedResult(
        RelatedState(dictionary, rows, make_lists(state.likes, {}), solved_at),
        sum(likes.contributors for likes in contributing),
        sum(before.get(row.content_id) != row for row in rows),
    )


def _select_contributing(aggregates: Sequence[ShardAggregate]) -> list[ShardLikes]:
    """Return the likes of the shards that have some and say their bound."""
    return [
        each.likes
        for each in aggregates
        if each.likes is not None and each.likes.contributors and each.likes.liked_limit
    ]


def _combine_liked(contributing: Sequence[ShardLikes]) -> ContributionBounds:
    return combine_bounds(ContributionBounds(each.liked_limit, 0) for each in contributing)


def _find_trends(state: NoisedState, rules: TrendRules) -> list[FederatedTrend]:
    """Return the trends of the noised hours: post-processing, which spends nothing."""
    if not state.hours:
        return []
    newest = max(state.hours)
    content_ids, counts = state.make_window(newest)
    first = max(WINDOW_HOURS - 1 - (newest - min(state.hours)), 0)
    found = find_summed_trends(counts, rules, first_hour=first, noise_variance=state.hour_scale**2)
    return [
        FederatedTrend(
            content_id=content_ids[trend.subject],
            genre="",
            score=round(trend.score, 2),
            region="",
            is_global=True,
            direction=trend.direction,
            popularity=round(trend.popularity, 1),
        )
        for trend in found
    ]
