"""Notices other federations on the same shards, and says which of them should stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from federation.merge.aggregates import ShardAggregate

NEWER_ADVICE: Final = (
    "a federation with a newer journal publishes to these shards, and they refuse the rounds of "
    "this one: stop this one, or start it with that journal"
)
OLDER_ADVICE: Final = (
    "the rounds of this journal replace those of an older one: if a federation with the older "
    "journal still runs, stop it"
)
log = structlog.get_logger(__name__)


def warn_of_other_journals(
    generation: int, usable: Sequence[ShardAggregate], fresh_shard_ids: Collection[int]
) -> None:
    """Log which fresh shards hold a global of another journal than that of `generation`."""
    fresh = [each for each in usable if each.version.shard_id in fresh_shard_ids]
    newer = [each for each in fresh if each.header.codebook_generation > generation]
    older = [each for each in fresh if 0 < each.header.codebook_generation < generation]
    if newer:
        _warn("newer_journal_found", generation, newer, NEWER_ADVICE)
    if older:
        _warn("older_journal_found", generation, older, OLDER_ADVICE)


def _warn(event: str, generation: int, found: Sequence[ShardAggregate], advice: str) -> None:
    log.warning(
        event,
        generation=generation,
        found=sorted({each.header.codebook_generation for each in found}),
        shard_ids=[each.version.shard_id for each in found],
        advice=advice,
    )
