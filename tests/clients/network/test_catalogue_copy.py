from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from constellation.v1 import sync_pb2 as pb
from constellation_settop import Catalogue, CredentialError, UnreachableError, fetch_catalogue
from constellation_settop.recommending.catalogue_items import compute_digest
from tests.clients.catalogue_model import make_item, to_bucket
from tests.clients.samples import make_unit_rows
from tests.clients.stub_shard import StubShard, serve_stub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def make_stub(count: int = 40) -> StubShard:
    stub = StubShard()
    stub.catalogue.add(*(make_item(f"{each % 4}-{each}", seed=each + 1) for each in range(count)))
    return stub


def check(catalogue: Catalogue, stub: StubShard) -> None:
    """Check that a copy has exactly what the shard has."""
    items = stub.catalogue.items
    assert list(catalogue.content_ids) == sorted(items)
    assert compute_digest(catalogue) == stub.catalogue.digest
    for row, content_id in enumerate(catalogue.content_ids):
        item = items[content_id]
        assert catalogue.title(row) == item.title
        assert catalogue.genres(row) == tuple(item.genres)
        assert catalogue.columns.codes[row].tobytes() == item.embedding[4:]
        assert catalogue.find_row(content_id) == row


async def test_a_copy_is_fetched_and_survives_in_its_file(tmp_path: Path) -> None:
    stub = make_stub()
    async with serve_stub(stub) as address:
        catalogue = await fetch_catalogue(address, tmp_path / "catalogue.bin")

    check(catalogue, stub)
    check(Catalogue.read(tmp_path / "catalogue.bin"), stub)
    assert stub.catalogue_requests == [b""]


async def test_only_what_changed_is_fetched(tmp_path: Path) -> None:
    stub = make_stub(200)
    path = tmp_path / "catalogue.bin"
    async with serve_stub(stub) as address:
        await fetch_catalogue(address, path)
        stub.catalogue.add(make_item("0-new", seed=500), make_item("1-5", "Another title"))
        del stub.catalogue.items["2-6"]
        count = 32  # 200 content items, about 8 in a bucket
        changed = {to_bucket(each, count) for each in ("0-new", "1-5", "2-6")}

        check(await fetch_catalogue(address, path), stub)
        declared = np.frombuffer(stub.catalogue_requests[1], "<u8")
        sent = {
            bucket
            for response in stub.catalogue.answer(
                pb.GetCatalogueRequest(bucket_digests=stub.catalogue_requests[1])
            )
            for bucket in response.buckets
        }
        check(await fetch_catalogue(address, path), stub)

    assert len(declared) == count
    assert sent == changed


async def test_a_copy_that_was_interrupted_goes_on(tmp_path: Path) -> None:
    stub = make_stub()
    stub.catalogue.response_limit, stub.catalogue.failure = 3, grpc.StatusCode.UNAVAILABLE
    path = tmp_path / "catalogue.bin"
    async with serve_stub(stub) as address:
        for _ in range(2):
            with pytest.raises(UnreachableError, match="UNAVAILABLE: on purpose"):
                await fetch_catalogue(address, path)
        assert not path.exists()
        stub.catalogue.response_limit = stub.catalogue.failure = None

        check(await fetch_catalogue(address, path), stub)

    declared = [np.count_nonzero(np.frombuffer(each, "<u8")) for each in stub.catalogue_requests]
    assert declared == [0, 3, 6]


async def test_a_damaged_file_is_moved_aside_and_fetched_anew(tmp_path: Path) -> None:
    stub = make_stub()
    path = tmp_path / "catalogue.bin"
    async with serve_stub(stub) as address:
        await fetch_catalogue(address, path)
        path.write_bytes(path.read_bytes()[:-64])

        check(await fetch_catalogue(address, path), stub)

    assert (tmp_path / "catalogue.bin.damaged").exists()


async def test_damaged_staging_is_begun_anew(tmp_path: Path) -> None:
    stub = make_stub()
    (tmp_path / "catalogue.bin.partial").write_bytes(b"no database" * 500)
    async with serve_stub(stub) as address:
        check(await fetch_catalogue(address, tmp_path / "catalogue.bin"), stub)


async def test_a_catalogue_from_elsewhere_is_replaced(tmp_path: Path) -> None:
    stub = make_stub()
    path = tmp_path / "catalogue.bin"
    Catalogue(["z"], make_unit_rows(1)).write(path)
    async with serve_stub(stub) as address:
        check(await fetch_catalogue(address, path), stub)


async def test_a_shard_without_content_leaves_an_empty_catalogue(tmp_path: Path) -> None:
    async with serve_stub(StubShard()) as address:
        assert not len(await fetch_catalogue(address, tmp_path / "catalogue.bin"))


async def test_a_refused_credential_is_said(tmp_path: Path) -> None:
    stub = make_stub()
    stub.catalogue.failure = grpc.StatusCode.UNAUTHENTICATED
    async with serve_stub(stub) as address:
        with pytest.raises(CredentialError, match="UNAUTHENTICATED"):
            await fetch_catalogue(address, tmp_path / "catalogue.bin")


async def test_nobody_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="no connection"):
        await fetch_catalogue("127.0.0.1:1", tmp_path / "catalogue.bin")


GOOD = make_item("0-1")


def change(**fields: Any) -> pb.CatalogueItem:
    item = pb.CatalogueItem()
    item.CopyFrom(GOOD)
    for name, value in fields.items():
        item.ClearField(name)  # type: ignore[arg-type]  # any field
        item.MergeFrom(pb.CatalogueItem(**{name: value}))
    return item


def respond(item: pb.CatalogueItem, **fields: Any) -> pb.GetCatalogueResponse:
    bucket = to_bucket(item.content_id, 8)
    columns: dict[str, Any] = {"bucket_count": 8, "buckets": [bucket], "items": [item]} | fields
    return pb.GetCatalogueResponse(**columns)


BROKEN: dict[str, tuple[pb.GetCatalogueResponse, str]] = {
    "no embedding": (respond(change(embedding=b"")), "must have 388 bytes, got 0"),
    "half an embedding": (respond(change(embedding=bytes(194))), "must have 388 bytes, got 194"),
    "an embedding of zero": (respond(change(embedding=bytes(388))), "is zero"),
    "an endless id": (respond(change(content_id="x" * 65)), "1 to 64 bytes"),
    "an empty id": (respond(change(content_id="")), "1 to 64 bytes"),
    "an endless title": (respond(change(title="x" * 257)), "more than 256 bytes"),
    "many genres": (respond(change(genres=["a"] * 9)), "more or longer genres"),
    "an endless genre": (respond(change(genres=["a" * 65])), "more or longer genres"),
    "no buckets": (respond(GOOD, bucket_count=0), "must be a power of two, got 0"),
    "three buckets": (respond(GOOD, bucket_count=3), "must be a power of two, got 3"),
    "a million buckets": (respond(GOOD, bucket_count=2**20), "must be a power of two, got 1048576"),
    "a bucket out of range": (respond(GOOD, buckets=[8]), "must be below 8, got 8"),
    "an item of another bucket": (
        respond(GOOD, buckets=[(to_bucket("0-1", 8) + 1) % 8]),
        "which was not sent",
    ),
    "an item twice": (respond(GOOD, items=[GOOD, GOOD]), "came twice"),
}


@pytest.mark.parametrize("case", BROKEN)
async def test_a_shard_that_breaks_the_protocol_changes_nothing(tmp_path: Path, case: str) -> None:
    stub = make_stub()
    path = tmp_path / "catalogue.bin"
    response, message = BROKEN[case]

    def answer(_: pb.GetCatalogueRequest) -> Iterator[pb.GetCatalogueResponse]:
        yield response

    async with serve_stub(stub) as address:
        stub.catalogue.answer = answer  # type: ignore[assignment, method-assign]  # a shard that misbehaves
        with pytest.raises(UnreachableError, match=f"the shard breaks the protocol: .*{message}"):
            await fetch_catalogue(address, path)
        assert not path.exists()
        del stub.catalogue.answer

        check(await fetch_catalogue(address, path), stub)
