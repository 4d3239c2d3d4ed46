"""Content items from a shard are checked, and merged into whole buckets of a catalogue."""

from __future__ import annotations

import numpy as np
import pytest

from constellation.encoding import INT8_ROW
from constellation.v1 import sync_pb2 as pb
from constellation_settop import Catalogue
from constellation_settop.recommending.catalogue_items import (
    check_item,
    compute_bucket_digests,
    compute_digest,
    merge_items,
    to_bucket,
)
from constellation_settop.values import ContentType
from tests.clients.catalogue_model import make_item
from tests.clients.samples import make_catalogue, make_unit_rows

BUCKETS = 4
IDS = [f"film:{number}" for number in range(12)]


def merge(base: Catalogue, items: list[pb.CatalogueItem], replaced: set[int]) -> Catalogue:
    ordered = sorted(items, key=lambda item: item.content_id.encode())
    entries = [(item.content_id, item.SerializeToString()) for item in ordered]
    return merge_items(base, entries, len(entries), replaced, BUCKETS)


def make_base() -> Catalogue:
    empty = Catalogue([], make_unit_rows(0))
    return merge(empty, [make_item(content_id) for content_id in IDS], set(range(BUCKETS)))


def test_an_item_of_a_shard_passes() -> None:
    check_item(make_item("film:1"))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"content_id": ""}, "1 to 64 bytes"),
        ({"content_id": "ü" * 33}, "1 to 64 bytes"),
        ({"title": "x" * 257}, "more than 256 bytes"),
        ({"genres": [""]}, "genres"),
        ({"genres": ["x"] * 9}, "genres"),
        ({"embedding": b"short"}, f"must have {INT8_ROW.itemsize} bytes, got 5"),
        ({"embedding": bytes(INT8_ROW.itemsize)}, "is zero"),
    ],
)
def test_an_item_that_no_shard_sends_is_refused(change: dict[str, object], problem: str) -> None:
    item = make_item("film:1")
    for name in change:
        item.ClearField(name)  # type: ignore[arg-type]  # any field
    item.MergeFrom(pb.CatalogueItem(**change))  # type: ignore[arg-type]  # any field

    with pytest.raises(ValueError, match=problem):
        check_item(item)


def test_replaced_buckets_lose_what_they_no_longer_have_and_others_stay() -> None:
    base, bucket = make_base(), to_bucket("film:0", BUCKETS)

    merged = merge(base, [make_item("film:0", "Renamed")], {bucket})

    kept = {each for each in IDS if to_bucket(each, BUCKETS) != bucket}
    assert set(merged.content_ids) == kept | {"film:0"}
    assert merged.title(int(merged.find_rows(["film:0"])[0])) == "Renamed"
    for content_id in kept:
        before, after = base.find_rows([content_id])[0], merged.find_rows([content_id])[0]
        assert (merged.columns.codes[after] == base.columns.codes[before]).all()


def test_rows_are_in_the_order_of_their_ids_and_digests_add_up() -> None:
    catalogue = make_base()

    assert list(catalogue.content_ids) == sorted(IDS, key=str.encode)
    digests = compute_bucket_digests(catalogue, BUCKETS)
    assert int(digests.sum(dtype=np.uint64)) == compute_digest(catalogue)


def test_a_catalogue_from_elsewhere_has_no_digest() -> None:
    assert compute_digest(make_catalogue()) == 0


def test_a_content_type_of_a_later_version_counts_as_unknown() -> None:
    item = make_item("film:1")
    item.content_type = 99  # type: ignore[assignment]  # of a later version

    merged = merge(Catalogue([], make_unit_rows(0)), [item], set())

    assert merged.content_type(0) == ContentType.ANY
