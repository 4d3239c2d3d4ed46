"""CatalogueCopies: sends devices the buckets of the catalogue that their copies lack."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.auth.principal import ANYBODY, CALLER
from constellation.core.table.catalogue_buckets import MAX_BUCKETS, choose_bucket_count, compute_key
from constellation.core.table.catalogue_digest import digest_content
from constellation.encoding import DIMENSION, pack_int8, unit_scales
from constellation.errors import InvalidInputError, SlowReaderError, TooManyCallsError
from constellation.v1 import patterns_pb2
from constellation.v1 import sync_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence

    from numpy.typing import NDArray

    from constellation.core.store import Content
    from constellation.core.table.catalogue import Catalogue
    from constellation.core.table.catalogue_buckets import CatalogueEntries

MAX_COPIES: Final = 64
"""Calls that are served at the same time; one more is refused. Each holds 4 bytes for
each content item, and a few responses."""
MAX_COPIES_OF_CALLER: Final = 2
"""The same for one caller, where tokens identify callers: one, and one whose connection broke."""
_MAX_PAGES: Final = 2
"""Pages that are read and encoded at the same time, so that deltas are not kept waiting."""
_RESPONSE_BYTES: Final = 256 * 1024
"""The most bytes of a response, unless one bucket alone has more."""
_PAGE_ITEMS: Final = 256
"""The approximate number of content items that are read at once; whole buckets."""
_BUCKET_BYTES: Final = 8
"""More bytes than the number of a bucket takes in a response."""
_ITEM_BYTES: Final = 6
"""More bytes than a response needs around a content item."""


def to_held_digests(data: bytes) -> NDArray[np.uint64]:
    """Return the digests of the buckets that a device holds; none for a device without a copy.

    Raises InvalidInputError unless their number is a power of two that a copy may have.
    """
    count, rest = divmod(len(data), 8)
    if rest or count & (count - 1) or count > MAX_BUCKETS:
        raise InvalidInputError(
            "bucket_digests",
            f"must be 8 bytes for each of a power of two of buckets, at most {MAX_BUCKETS}, "
            f"got {len(data)} bytes",
        )
    return np.frombuffer(data, "<u8").astype(np.uint64)


class CatalogueCopies:
    """Serves the calls that bring copies of the catalogue up to date, a few at once."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._pages = asyncio.Semaphore(_MAX_PAGES)
        self._active: Counter[str] = Counter()
        """Calls that are served, by the name of the caller."""
        self._entries: CatalogueEntries | None = None
        self._entries_digest = 0

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Count a call of the present caller until the block is left.

        Raises TooManyCallsError when all callers together, or this one, have the most calls
        already.
        """
        caller = CALLER.get()
        if self._active.total() >= MAX_COPIES:
            raise TooManyCallsError(
                f"{MAX_COPIES} devices are copying the catalogue: try again later"
            )
        if caller is not ANYBODY and self._active[caller.subject] >= MAX_COPIES_OF_CALLER:
            raise TooManyCallsError(
                f"{caller.subject!r} is copying the catalogue {MAX_COPIES_OF_CALLER} times: read "
                "one copy to its end"
            )
        self._active[caller.subject] += 1
        try:
            yield
        finally:
            self._active[caller.subject] -= 1
            if not self._active[caller.subject]:
                del self._active[caller.subject]

    async def make_responses(
        self, held: NDArray[np.uint64]
    ) -> AsyncIterator[pb.GetCatalogueResponse]:
        """Yield responses with the buckets whose digest differs; at least one response."""
        entries = self._list_entries()
        count = choose_bucket_count(len(entries), len(held))
        if count != len(held):
            held = np.zeros(count, np.uint64)
        different = await asyncio.to_thread(entries.find_different, held)
        if not len(different.buckets):
            yield pb.GetCatalogueResponse(bucket_count=count)
        for buckets, positions in different.cut_pages(_PAGE_ITEMS):
            async with self._pages:
                contents = await self._catalogue.read_entries(entries, positions.tolist())
                responses = await asyncio.to_thread(_encode_page, count, buckets.tolist(), contents)
            for response in responses:
                yield response

    def _list_entries(self) -> CatalogueEntries:
        """Return the entries of the catalogue; all calls share them until it changes."""
        if self._entries is None or self._entries_digest != self._catalogue.digest:
            self._entries_digest = self._catalogue.digest
            self._entries = self._catalogue.list_entries()
        return self._entries


async def write_in_time(write: Awaitable[None], limit_seconds: float) -> None:
    """Wait for the end of a write. Raises SlowReaderError when the device does not read in time.

    The write itself goes on: grpcio ends it with the call.
    """
    writing = asyncio.ensure_future(write)
    done, _ = await asyncio.wait({writing}, timeout=limit_seconds)
    if not done:
        writing.add_done_callback(lambda each: each.cancelled() or each.exception())
        raise SlowReaderError(f"the device has read nothing for {limit_seconds:g} seconds")
    await writing


def _encode_page(
    count: int, buckets: Sequence[int], contents: Sequence[Content]
) -> list[pb.GetCatalogueResponse]:
    """Return the responses with these buckets, of `count`. `contents` may be in any order."""
    items: dict[int, list[pb.CatalogueItem]] = {bucket: [] for bucket in buckets}
    for item in _encode_items(contents):
        items[compute_key(item.content_id) % count].append(item)
    responses = [pb.GetCatalogueResponse(bucket_count=count)]
    size = 0
    for bucket in buckets:
        added = sum(item.ByteSize() + _ITEM_BYTES for item in items[bucket]) + _BUCKET_BYTES
        if size and size + added > _RESPONSE_BYTES:
            responses.append(pb.GetCatalogueResponse(bucket_count=count))
            size = 0
        responses[-1].buckets.append(bucket)
        responses[-1].items.extend(items[bucket])
        size += added
    return responses


def _encode_items(contents: Sequence[Content]) -> Iterator[pb.CatalogueItem]:
    codes = np.frombuffer(b"".join(each.codes for each in contents), np.int8)
    codes = codes.reshape(-1, DIMENSION)
    embeddings = pack_int8(codes, unit_scales(codes))
    row_bytes = len(embeddings) // max(len(contents), 1)
    for row, content in enumerate(contents):
        yield pb.CatalogueItem(
            content_id=content.content_id,
            title=content.title,
            content_type=patterns_pb2.ContentType.ValueType(content.content_type),
            genres=content.genres,
            year=content.year,
            embedding=embeddings[row * row_bytes : (row + 1) * row_bytes],
            hash=digest_content(content),
        )
