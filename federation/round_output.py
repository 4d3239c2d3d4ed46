"""Computes what a round publishes and saves, and the report on it. Runs in a thread."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from federation.journal.contract import RoundOutput
from federation.merge.result import compute_result
from federation.messages import serialise_model_state, serialise_result
from federation.noised_result import compute_noised_result
from federation.related.result import RelatedInputs, RelatedResult, compute_related
from federation.report import report_related, report_result

if TYPE_CHECKING:
    from collections.abc import Iterable

    from constellation.auth.key_file import KeyFile
    from federation.merge.result import ModelState, RoundInputs, RoundResult, RoundRules
    from federation.round_report import Coverage, RoundReport


def compute_output(  # noqa: PLR0913, PLR0917 - what a round consists of
    report: RoundReport,
    coverage: Coverage,
    inputs: RoundInputs,
    model_state: ModelState,
    rules: RoundRules,
    revoked_device_ids: Iterable[bytes] = (),
    signing_keys: KeyFile | None = None,
) -> tuple[RoundReport, RoundOutput]:
    """Return the report with the figures of the result, and what the journal saves.

    If the inputs have a plan of releases, everything that is published has noise.
    """
    started = begun = time.monotonic()
    related: RelatedResult | None = None
    if (plan := inputs.plan) is not None:
        result, related = compute_noised_result(inputs, model_state, rules, plan)
    else:
        result = compute_result(inputs, model_state, rules)
        begun = time.monotonic()
        if inputs.has_likes:
            result, related = add_related(result, inputs, rules)
    if related is not None:
        report = report_related(report, related, time.monotonic() - begun)
    payload = serialise_result(result, inputs.stamp, coverage, revoked_device_ids, signing_keys)
    report = report_result(report, result, payload)
    rows = plan.rows if plan is not None else ()
    output = RoundOutput(payload, serialise_model_state(result.model_state), {}, rows)
    return replace(report, merge_seconds=time.monotonic() - started), output


def add_related(
    result: RoundResult, inputs: RoundInputs, rules: RoundRules
) -> tuple[RoundResult, RelatedResult]:
    """Return the result with related and popular content of this round, and figures on that."""
    known = result.model_state.related
    related = compute_related(
        RelatedInputs(
            [
                (aggregate.header.region, aggregate.likes)
                for aggregate in inputs.aggregates
                if aggregate.likes is not None
            ],
            inputs.terms.contents.texts,
            inputs.terms.contents.find(known.dictionary.content_ids),
            inputs.stamp.generation,
            float(inputs.stamp.closed_at),
        ),
        known,
        rules.related,
    )
    return replace(result, model_state=replace(result.model_state, related=related.state)), related
