"""Fields that are encoded by hand mean what protobuf's own library means."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError

from constellation.transport.codec.wire import (
    encode_varint,
    encode_varints,
    frame,
    frame_message,
    frame_number,
    make_number_tag,
    make_tag,
)
from constellation.v1 import patterns_pb2 as pb

NUMBERS = [0, 1, 127, 128, 255, 300, 16_383, 16_384, 2**31, 2**32 - 1]


@pytest.mark.parametrize("number", [*NUMBERS, 2**63, 2**64 - 1])
def test_a_number_is_decoded_as_it_was(number: int) -> None:
    encoded = frame_number(make_number_tag(1), number)

    assert pb.GlobalUpdate.FromString(encoded).nonce == number
    assert encoded == pb.GlobalUpdate(nonce=number).SerializeToString()


def test_packed_numbers_are_decoded_as_they_were() -> None:
    encoded = frame(make_tag(16), encode_varints(NUMBERS))

    assert list(pb.PatternColumns.FromString(encoded).content_indexes) == NUMBERS


@pytest.mark.parametrize("size", [0, 1, 127, 128, 70_000])
def test_bytes_are_decoded_as_they_were(size: int) -> None:
    encoded = frame(make_tag(19), b"x" * size)

    assert encoded == pb.GlobalUpdate(removed_popular_ids=b"x" * size).SerializeToString()


def test_an_empty_message_is_there_and_an_empty_field_is_not() -> None:
    assert pb.GlobalUpdate.FromString(frame_message(make_tag(4), b"")).HasField("similar")
    assert frame(make_tag(4), b"") == frame_number(make_number_tag(1), 0) == b""


def test_parts_of_one_message_are_joined_into_it() -> None:
    first = pb.GlobalUpdate(trends=[pb.Trend(genre="a")]).SerializeToString()
    second = pb.GlobalUpdate(trends=[pb.Trend(genre="b")], nonce=3).SerializeToString()

    joined = pb.GlobalUpdate.FromString(first + second)

    assert [each.genre for each in joined.trends] == ["a", "b"]
    assert joined.nonce == 3


def test_a_varint_that_is_cut_is_no_message() -> None:
    with pytest.raises(DecodeError):
        pb.GlobalUpdate.FromString(make_number_tag(1) + encode_varint(300)[:1])
