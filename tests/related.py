"""Related and popular content as a federation publishes it, for tests."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from constellation.v1 import aggregates_pb2
from constellation.v1 import patterns_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def make_row_id(content_id: str, revision: int = 1) -> bytes:
    return sha256(content_id.encode()).digest()[:8] + revision.to_bytes(8, "big")


def make_related_rows(
    rows: Mapping[str, Mapping[str, int]], revisions: Mapping[str, int] | None = None
) -> pb.RelatedRows:
    """Return rows from the neighbours of each content item with their codes."""
    texts = sorted({*rows, *(each for row in rows.values() for each in row)})
    codes = [code for row in rows.values() for code in row.values()]
    revisions = revisions or {}
    return pb.RelatedRows(
        ids=b"".join(make_row_id(each, revisions.get(each, 1)) for each in rows),
        content_ids=texts,
        contents=[texts.index(each) for each in rows],
        neighbour_counts=bytes(map(len, rows.values())),
        neighbours=[texts.index(each) for row in rows.values() for each in row],
        weights=bytes(code % 256 for code in codes),
        shifts=bytes([7] * len(rows)),
    )


def read_related_rows(rows: pb.RelatedRows) -> dict[str, dict[str, int]]:
    """Return the neighbours of each content item with their codes."""
    found: dict[str, dict[str, int]] = {}
    start = 0
    for content, count in zip(rows.contents, rows.neighbour_counts, strict=True):
        cells = range(start, start + count)
        found[rows.content_ids[content]] = {
            rows.content_ids[rows.neighbours[cell]]: (rows.weights[cell] ^ 128) - 128
            for cell in cells
        }
        start += count
    return found


def make_popular(region: str, contents: Mapping[str, int], revision: int = 1) -> pb.PopularContents:
    return pb.PopularContents(
        id=sha256(f"{region} {revision}".encode()).digest()[:16],
        region=region,
        content_ids=contents,
        households=contents.values(),
    )


def make_related_global(
    round_id: int = 1,
    rows: pb.RelatedRows | None = None,
    popular: Sequence[pb.PopularContents] = (),
    dictionary: Sequence[str] = (),
    dictionary_version: int = 1,
) -> aggregates_pb2.Global:
    """Return a global state that has only related and popular content."""
    message = aggregates_pb2.Global(
        generation=5,
        round_id=round_id,
        related=aggregates_pb2.RelatedContents(
            dictionary_version=dictionary_version if dictionary else 0,
            dictionary=dictionary,
            rows=rows,
        ),
        popular=popular,
    )
    message.clusters.patterns.encoding = pb.ENCODING_INT8
    return message
