"""A model of a shard's catalogue: what it answers to GetCatalogue."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from constellation.encoding import Encoding, encode
from constellation.v1 import patterns_pb2
from constellation.v1 import sync_pb2 as pb
from tests.clients.samples import make_unit_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    import grpc


def to_bucket(content_id: str, bucket_count: int) -> int:
    return int.from_bytes(sha256(content_id.encode()).digest()[:4], "big") % bucket_count


def make_item(content_id: str, title: str = "", seed: int = 1) -> pb.CatalogueItem:
    """Return a content item whose embedding depends on `seed`, with a hash of all that it has."""
    item = pb.CatalogueItem(
        content_id=content_id,
        title=title or f"Film {content_id}",
        content_type=patterns_pb2.CONTENT_TYPE_MOVIE,
        genres=[f"genre-{content_id[0]}"],
        year=1999,
        embedding=encode(make_unit_rows(1, seed), Encoding.INT8),
    )
    item.hash = int.from_bytes(sha256(item.SerializeToString()).digest()[:8], "big")
    return item


@dataclass
class CatalogueModel:
    """The content items of a shard, and how it sends them."""

    items: dict[str, pb.CatalogueItem] = field(default_factory=dict)
    bucket_count: int = 8
    """The number of buckets that it chooses for a device that has none."""
    response_limit: int | None = None
    """Responses before the shard stops; None means all of them."""
    failure: grpc.StatusCode | None = None
    """How the call ends; None means well."""

    def add(self, *items: pb.CatalogueItem) -> None:
        self.items |= {item.content_id: item for item in items}

    @property
    def digest(self) -> int:
        return sum(item.hash for item in self.items.values()) % 2**64

    def answer(self, request: pb.GetCatalogueRequest) -> Iterator[pb.GetCatalogueResponse]:
        """Yield a response for each bucket that differs from what the device declares."""
        held = np.frombuffer(request.bucket_digests, "<u8").tolist() or [None] * self.bucket_count
        return islice(self._answer(held), self.response_limit)

    def _answer(self, held: list[int | None]) -> Iterator[pb.GetCatalogueResponse]:
        count = len(held)
        for bucket, digest in enumerate(held):
            items = [
                each for each in self.items.values() if to_bucket(each.content_id, count) == bucket
            ]
            if sum(item.hash for item in items) % 2**64 != digest and (items or digest):
                yield pb.GetCatalogueResponse(bucket_count=count, buckets=[bucket], items=items)
