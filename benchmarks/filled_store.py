"""Stores filled with many patterns at once, as if many deltas had been applied to them."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.rows import DEVICE, DIGEST_MODULUS, PATTERN, TermKind, digest_rows
from constellation.core.store import CommitWrites, HourlyCounts, Term, Totals
from constellation.core.table.catalogue_digest import digest_term
from constellation.core.table.hourly import digest_counts
from constellation.storage.postgres.migrations import migrate
from constellation.storage.postgres.pool import PostgresSettings
from constellation.storage.postgres.store import open_postgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from constellation.core.store import PatternStore
    from constellation.encoding import Codes
    from constellation.storage.postgres.store import PostgresPatternStore

_BLOCK: Final = 32_000
"""Patterns in one commit."""
_SHARED_SHARE: Final = 0.7
"""Share of the patterns whose success rate is high enough for other devices to see them."""
_TRENDING_CONTENTS: Final = 200
"""Content items with signals in each hour, so that there are trends."""
_HOURS: Final = 48
"""Last hours that have signals."""
_FILL_TIMEOUT_SECONDS: Final = 120.0
"""Time limit of a statement; a commit of a full block may take long."""


@asynccontextmanager
async def open_filled_postgres(
    url: str, codes: Codes, *, per_device: int
) -> AsyncIterator[PostgresPatternStore]:
    """Migrate an empty database, fill it as `fill_store` does, and open it as a store."""
    settings = PostgresSettings(url=url, owner="benchmark", timeout_seconds=_FILL_TIMEOUT_SECONDS)
    await migrate(url, settings.dialect)
    async with open_postgres(settings) as store:
        await fill_store(store, codes, per_device=per_device)
        yield store


async def fill_store(store: PatternStore, codes: Codes, *, per_device: int) -> None:
    """Fill an empty store with one pattern for each row of `codes`, and signals for trends.

    Consecutive rows belong to the same device, `per_device` to each.
    """
    epoch, random = await store.take_epoch(), np.random.default_rng(1)
    totals, now = Totals(), int(time.time())
    for start in range(0, len(codes), _BLOCK):
        slots = np.arange(start, min(start + _BLOCK, len(codes)))
        rows = np.zeros(len(slots), PATTERN)
        rows["lsn"], rows["device"] = totals.lsn + 1, slots // per_device
        rows["success_rate"] = random.choice(
            [0.9, 0.75], len(slots), p=[_SHARED_SHARE, 1 - _SHARED_SHARE]
        )
        rows["sample_count"], rows["created_at"], rows["updated_at"] = 3, now, now
        rows["pattern_id"] = np.frombuffer(random.bytes(16 * len(slots)), "V16")
        rows["codes"] = codes[slots]
        device_slots = np.arange(totals.devices, slots[-1] // per_device + 1)
        devices = np.zeros(len(device_slots), DEVICE)
        devices["device_id"] = np.frombuffer(random.bytes(16 * len(devices)), "V16")
        devices["incarnation"], devices["seq"], devices["synced_at"] = 1, 1, now
        totals = Totals(
            totals.lsn + 1,
            totals.patterns + len(rows),
            totals.devices + len(devices),
            (totals.pattern_digest + digest_rows(slots, rows)) % DIGEST_MODULUS,
            (totals.device_digest + digest_rows(device_slots, devices)) % DIGEST_MODULUS,
        )
        writes = CommitWrites(
            totals, slots=slots, rows=rows, device_slots=device_slots, device_rows=devices
        )
        await store.commit(epoch, writes)
    await store.commit(epoch, _make_signals(totals, now // 3600))


def _make_signals(totals: Totals, now_hour: int) -> CommitWrites:
    contents = np.arange(1, _TRENDING_CONTENTS + 1, dtype=np.uint32)
    hours = np.arange(now_hour - _HOURS + 1, now_hour + 1, dtype=np.uint32)
    counts = HourlyCounts(
        np.repeat(hours, _TRENDING_CONTENTS),
        np.full(_HOURS * _TRENDING_CONTENTS, TermKind.CONTENT, np.uint8),
        np.tile(contents, _HOURS),
        np.random.default_rng(2).poisson(20, _HOURS * _TRENDING_CONTENTS).astype(np.uint32) + 5,
    )
    after = Totals(
        totals.lsn + 1,
        totals.patterns,
        totals.devices,
        totals.pattern_digest,
        totals.device_digest,
        digest_counts(counts),
    )
    terms = [Term(TermKind.CONTENT, number, f"film:{number}") for number in contents.tolist()]
    digest = sum(map(digest_term, terms)) % DIGEST_MODULUS
    return CommitWrites(after, terms=terms, counts=counts, new_catalogue_digest=digest)
