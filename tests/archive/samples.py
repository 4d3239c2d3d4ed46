"""Lines of an archive, and the store that they fill."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from constellation.archive.lines import NumberedLine
from constellation.core.store import CommitWrites
from constellation.encoding import DIMENSION
from constellation.storage.memory import MemoryPatternStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from constellation.archive.importer import ArchiveImporter
    from constellation.archive.lines import Line

EMBEDDING = base64.b64encode(bytes(range(1, 129)) * 3).decode()
assert len(base64.b64decode(EMBEDDING)) == DIMENSION

ArchiveLines = dict[str, list[dict[str, Any]]]
"""Fields of lines, by their kind, in the order of an archive."""


def make_pattern(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "pattern_id": f"{number:032x}",
        "success_rate": 0.74,
        "sample_count": 3,
        "created_at": 1_700_000_000,
        "updated_at": 1_800_000_000,
        "time_of_day": 3,
        "day_type": 1,
        "content_type": 2,
        "genres": ["drama", "noir"],
        "content_ids": ["film:2", "film:1"],
        "embedding": EMBEDDING,
        **changes,
    }


def make_device(number: int, patterns: Sequence[Line] = (), **changes: Any) -> dict[str, Any]:
    return {
        "device_id": f"{number:032x}",
        "lot": 2**64 - 1,
        "network": number,
        "first_day": 20_000,
        "active_day": 20_001,
        "active_days": 2,
        "attested": 1,
        "quarantined": 0,
        "week": 2_900,
        "week_patterns": 1,
        "week_signals": 2,
        "week_liked": 2**16 - 1,
        "incarnation": 2**63 + number,
        "seq": 7,
        "synced_at": 1_800_000_000,
        "signal_hour": 500_000,
        "signal_content_ids": ["film:1"],
        "liked_content_ids": ["film:1"],
        "patterns": list(patterns),
        **changes,
    }


def make_content(content_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "content_id": content_id,
        "title": "Solaris — Солярис",
        "content_type": 1,
        "genres": ["drama", "科幻"],
        "year": 1972,
        "embedding": EMBEDDING,
        **changes,
    }


def make_archive() -> ArchiveLines:
    """Return a small archive, in order."""
    return {
        "content": [make_content("film:1"), make_content("film:2", genres=[])],
        "device": [
            make_device(1, [make_pattern(1), make_pattern(5, genres=[], content_ids=[])]),
            make_device(3, liked_content_ids=[]),
            make_device(
                4, [make_pattern(2, success_rate=0.7)], liked_content_ids=["film:3", "film:1"]
            ),
        ],
        "count": [
            {"hour": 500_000, "genre": "drama", "devices": 3},
            {"hour": 500_000, "content_id": "film:1", "devices": 2},
            {"hour": 500_001, "content_id": "film:1", "devices": 1},
        ],
    }


def to_numbered(lines: Sequence[Line]) -> list[NumberedLine]:
    """Return lines as they stand in a file after its first line."""
    return [
        NumberedLine(number, json.loads(json.dumps(line))) for number, line in enumerate(lines, 2)
    ]


async def fill_store(archive: ArchiveLines, importer: ArchiveImporter) -> MemoryPatternStore:
    """Return a store with everything that an importer makes of an archive."""
    store = MemoryPatternStore()
    epoch = await store.take_epoch()
    await store.commit(epoch, importer.begin())
    for kind, lines in archive.items():
        writes = importer.prepare(kind, to_numbered(lines))
        if isinstance(writes, CommitWrites):
            await store.commit(epoch, writes)
        else:
            await store.put_contents(epoch, writes.contents, writes.terms, writes.digest)
    return store
