"""Converts a loaded shard to the lines of an archive."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from constellation.archive.lines import (
    PATTERN_INTEGER_FIELDS,
    STANDING_FIELDS,
    SUBJECT_FIELDS,
    WEEK_FIELDS,
)
from constellation.core.rows import PatternRows, TermKind
from constellation.encoding import ID_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from constellation.archive.lines import Line
    from constellation.core.loading import LoadedShard
    from constellation.core.store import Content
    from constellation.core.table.vocabulary import Vocabulary


_BLOCK_DEVICES: Final = 512


def to_content_line(content: Content) -> Line:
    """Return the fields of the line of one content item."""
    return {
        "content_id": content.content_id,
        "title": content.title,
        "content_type": content.content_type,
        "genres": list(content.genres),
        "year": content.year,
        "embedding": base64.b64encode(content.codes).decode(),
    }


def to_device_lines(loaded: LoadedShard) -> Iterator[Line]:
    """Yield every device with its patterns, in the order of device ids and pattern ids."""
    table = loaded.table
    used = np.ones(table.device_allocator.high_water, bool)
    used[table.device_allocator.free_list] = False
    slots = np.flatnonzero(used)
    slots = slots[np.argsort(_to_sortable(table.devices["device_id"][slots]))]
    for start in range(0, len(slots), _BLOCK_DEVICES):
        block = slots[start : start + _BLOCK_DEVICES]
        stored = table.find_patterns(block)
        rows = table.patterns[stored.slots]
        order = np.lexsort((_to_sortable(rows["pattern_id"]), stored.owners))
        patterns = _to_patterns(rows[order], table.vocabulary)
        ends = np.searchsorted(stored.owners[order], np.arange(len(block)), side="right").tolist()
        begin = 0
        liked = table.liked.read(block)["contents"]
        for row, liked_row, end in zip(table.devices[block], liked, ends, strict=True):
            yield {
                **_to_device(row, table.vocabulary),
                "liked_content_ids": _to_liked(liked_row, table.vocabulary),
                "patterns": patterns[begin:end],
            }
            begin = end


def to_count_lines(loaded: LoadedShard) -> Iterator[Line]:
    """Yield every hourly count, ordered by hour, then genres before content ids, then text."""
    counts = loaded.ring.counts()
    vocabulary = loaded.table.vocabulary
    kinds = [TermKind(kind) for kind in counts.kinds.tolist()]
    texts = map(vocabulary.text, kinds, counts.numbers.tolist())
    for hour, kind, text, devices in sorted(
        zip(counts.hours.tolist(), kinds, texts, counts.devices.tolist(), strict=True)
    ):
        yield {"hour": hour, SUBJECT_FIELDS[kind]: text, "devices": devices}


def _to_sortable(ids: NDArray[np.void]) -> NDArray[np.bytes_]:
    """Return 16-byte ids as hexadecimal text, which sorts in the order of their bytes."""
    return np.array([each.hex() for each in ids.tolist()], f"S{2 * ID_BYTES}")


def _to_device(row: np.void, vocabulary: Vocabulary) -> dict[str, Any]:
    signals = [int(number) for number in row["signal_contents"] if number]
    return {
        "device_id": row["device_id"].tobytes().hex(),
        "incarnation": int(row["incarnation"]),
        "seq": int(row["seq"]),
        "synced_at": int(row["synced_at"]),
        "signal_hour": int(row["signal_hour"]),
        "signal_content_ids": [vocabulary.text(TermKind.CONTENT, number) for number in signals],
        **{name: int(row[name]) for name, _ in STANDING_FIELDS},
        **{name: int(row[name]) for name in WEEK_FIELDS},
    }


def _to_liked(numbers: NDArray[np.uint32], vocabulary: Vocabulary) -> list[str]:
    """Return the liked content of a device, the latest last."""
    texts = [vocabulary.text(TermKind.CONTENT, number) for number in numbers[numbers > 0].tolist()]
    return texts[::-1]


def _to_patterns(rows: PatternRows, vocabulary: Vocabulary) -> list[dict[str, Any]]:
    rates = (
        rows["success_rate"].astype("U32").astype(float).tolist()
    )  # the shortest text with the same float32
    names = [name for name, _, _ in PATTERN_INTEGER_FIELDS]
    numbers = [rows[name].tolist() for name in names]
    genres, contents = rows["genres"].tolist(), rows["contents"].tolist()
    return [
        {
            "pattern_id": row["pattern_id"].tobytes().hex(),
            "success_rate": rates[row_number],
            **{name: column[row_number] for name, column in zip(names, numbers, strict=True)},
            "genres": [
                vocabulary.text(TermKind.GENRE, number) for number in genres[row_number] if number
            ],
            "content_ids": [
                vocabulary.text(TermKind.CONTENT, number)
                for number in contents[row_number]
                if number
            ],
            "embedding": base64.b64encode(row["codes"].tobytes()).decode(),
        }
        for row_number, row in enumerate(rows)
    ]
