"""Content items as a shard sends them: checked, and merged into a catalogue."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.encoding import DIMENSION, INT8_ROW
from constellation.v1 import sync_pb2 as pb
from constellation_settop.recommending.catalogue import Catalogue
from constellation_settop.recommending.catalogue_columns import build_columns, to_key
from constellation_settop.values import ContentType

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from numpy.typing import NDArray

MAX_ID_BYTES: Final = 64
MAX_TITLE_BYTES: Final = 256
MAX_GENRES: Final = 8
_KEY_SHIFT: Final = np.uint64(32)


@dataclass(frozen=True, slots=True)
class _Row:
    """One content item on its way into a catalogue."""

    sort_key: bytes
    title: str
    genres: tuple[str, ...]
    content_type: int
    codes: bytes
    item_hash: int


def to_bucket(content_id: str, bucket_count: int) -> int:
    """Return the bucket of a content item."""
    return (to_key(content_id) >> 32) % bucket_count


def check_item(item: pb.CatalogueItem) -> None:
    """Raise ValueError for a content item that no shard sends."""
    if not 1 <= len(item.content_id.encode()) <= MAX_ID_BYTES:
        raise ValueError(f"a content id must have 1 to {MAX_ID_BYTES} bytes")
    if len(item.title.encode()) > MAX_TITLE_BYTES:
        raise ValueError(f"the title of {item.content_id!r} has more than {MAX_TITLE_BYTES} bytes")
    sizes = [len(genre.encode()) for genre in item.genres]
    if len(sizes) > MAX_GENRES or not all(1 <= size <= MAX_ID_BYTES for size in sizes):
        raise ValueError(f"{item.content_id!r} has more or longer genres than a shard takes")
    if len(item.embedding) != INT8_ROW.itemsize:
        raise ValueError(
            f"the embedding of {item.content_id!r} must have {INT8_ROW.itemsize} bytes, "
            f"got {len(item.embedding)}"
        )
    if not any(item.embedding[INT8_ROW.itemsize - DIMENSION :]):
        raise ValueError(f"the embedding of {item.content_id!r} is zero")


def compute_bucket_digests(catalogue: Catalogue, bucket_count: int) -> NDArray[np.uint64]:
    """Return the digest of each bucket of a catalogue that came from a shard."""
    columns = catalogue.columns
    buckets = np.empty(len(catalogue), np.uint64)
    buckets[columns.key_rows] = (columns.keys >> _KEY_SHIFT) % np.uint64(bucket_count)
    digests = np.zeros(bucket_count, np.uint64)
    np.add.at(digests, buckets.astype(np.int64), columns.item_hashes)  # modulo 2**64
    return digests


def compute_digest(catalogue: Catalogue) -> int:
    """Return the digest of a catalogue that came from a shard; 0 for any other."""
    return int(catalogue.columns.item_hashes.sum(dtype=np.uint64))


def merge_items(
    base: Catalogue,
    messages: Iterable[tuple[str, bytes]],
    message_count: int,
    replaced_buckets: Collection[int],
    bucket_count: int,
) -> Catalogue:
    """Return a catalogue where some buckets of `base` are replaced.

    It takes little more memory than the columns of the result, because a device has little.

    Args:
        base: a catalogue that came from a shard, or an empty one.
        messages: content id and encoded message of each new content item, sorted by content id.
        message_count: how many messages there are.
        replaced_buckets: the buckets whose content items are left out of `base`.
        bucket_count: the number of buckets in all.
    """
    kept = _read_base(base, replaced_buckets, bucket_count)
    most = len(base) + message_count
    codes = np.empty((most, DIMENSION), np.int8)
    content_types, hashes = np.empty(most, np.uint8), np.empty(most, np.uint64)
    content_ids: list[str] = []
    titles: list[str] = []
    genres: list[tuple[str, ...]] = []
    known_genres: dict[tuple[str, ...], tuple[str, ...]] = {}
    rows = heapq.merge(kept, map(_to_row, messages), key=attrgetter("sort_key"))
    for number, row in enumerate(rows):
        content_ids.append(row.sort_key.decode())
        titles.append(row.title)
        genres.append(known_genres.setdefault(row.genres, row.genres))
        codes[number] = np.frombuffer(row.codes, np.int8)
        content_types[number], hashes[number] = row.content_type, row.item_hash
    count = len(content_ids)
    columns = build_columns(
        content_ids, titles, genres, content_types[:count], codes[:count], hashes[:count]
    )
    return Catalogue.from_columns(columns)


def _read_base(
    base: Catalogue, replaced_buckets: Collection[int], bucket_count: int
) -> Iterator[_Row]:
    order = np.argsort(base.id_ranks)
    for row in order.tolist():
        content_id = base.content_ids[row]
        if to_bucket(content_id, bucket_count) in replaced_buckets:
            continue
        yield _Row(
            content_id.encode(),
            base.title(row),
            tuple(base.genres(row)),
            base.content_type(row),
            base.columns.codes[row].tobytes(),
            int(base.columns.item_hashes[row]),
        )


def _to_row(entry: tuple[str, bytes]) -> _Row:
    content_id, message = entry
    item = pb.CatalogueItem.FromString(message)
    is_known = int(item.content_type) in {int(each) for each in ContentType}
    return _Row(
        content_id.encode(),
        item.title,
        tuple(dict.fromkeys(item.genres)),
        int(item.content_type) if is_known else ContentType.ANY,
        item.embedding[INT8_ROW.itemsize - DIMENSION :],
        item.hash,
    )
