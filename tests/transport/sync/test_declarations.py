"""What a device declares is taken as it says, within limits."""

from __future__ import annotations

import pytest

from constellation.encoding import Encoding
from constellation.errors import InvalidInputError
from constellation.transport.sync.declarations import negotiate_format, to_held_state
from constellation.transport.sync.limits import MAX_HELD_IDS, MAX_SDK_VERSION_BYTES
from constellation.v1 import patterns_pb2
from constellation.v1 import sync_pb2 as pb

DEFAULT = 100
FLOAT32, INT8 = patterns_pb2.ENCODING_FLOAT32, patterns_pb2.ENCODING_INT8


def test_the_smallest_encoding_that_a_device_reads_is_used() -> None:
    hello = pb.Hello(encodings=[FLOAT32, INT8])

    assert negotiate_format(hello, DEFAULT)[0] is Encoding.INT8
    assert negotiate_format(pb.Hello(encodings=[FLOAT32]), DEFAULT)[0] is Encoding.FLOAT32


def test_a_device_that_names_no_encoding_gets_int8() -> None:
    assert negotiate_format(pb.Hello(), DEFAULT)[0] is Encoding.INT8


def test_an_encoding_of_a_later_version_is_passed_over_beside_a_known_one() -> None:
    hello = pb.Hello(encodings=[99, FLOAT32])  # type: ignore[list-item]  # of a later version

    assert negotiate_format(hello, DEFAULT)[0] is Encoding.FLOAT32


def test_unknown_encodings_alone_are_refused() -> None:
    hello = pb.Hello(encodings=[99])  # type: ignore[list-item]  # of a later version

    with pytest.raises(InvalidInputError, match=r"at least one of 1 .*, got \[99\]"):
        negotiate_format(hello, DEFAULT)


@pytest.mark.parametrize(("asked", "given"), [(0, DEFAULT), (7, 7), (10 * DEFAULT, DEFAULT)])
def test_a_device_gets_what_it_can_keep_and_never_more_than_the_shard_gives(
    asked: int, given: int
) -> None:
    assert negotiate_format(pb.Hello(pattern_capacity=asked), DEFAULT)[1] == given


def test_a_long_sdk_version_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=f"at most {MAX_SDK_VERSION_BYTES} bytes"):
        negotiate_format(pb.Hello(sdk_version="ü" * MAX_SDK_VERSION_BYTES), DEFAULT)


def test_held_ids_are_cut_at_16_bytes() -> None:
    first, second = bytes(16), bytes([1] * 16)

    held = to_held_state(pb.Hello(held_similar_ids=second + first, held_related_ids=first))

    assert held.similar == {first, second}
    assert held.related == first
    assert not held.clusters


@pytest.mark.parametrize(
    "field", ["held_similar_ids", "held_cluster_ids", "held_related_ids", "held_popular_ids"]
)
@pytest.mark.parametrize(
    ("ids", "problem"),
    [(bytes(17), "16 bytes"), (bytes(16 * (MAX_HELD_IDS + 1)), f"at most {MAX_HELD_IDS} ids")],
)
def test_cut_and_endless_ids_are_refused_by_their_field(
    field: str, ids: bytes, problem: str
) -> None:
    hello = pb.Hello()
    setattr(hello, field, ids)

    with pytest.raises(InvalidInputError, match=f"{field}.*{problem}"):
        to_held_state(hello)
