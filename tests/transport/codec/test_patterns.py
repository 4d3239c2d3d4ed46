"""Deltas, receipts and content items: columns are checked on the way in, nothing is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from constellation.core.ingest.deltas import Receipt, Rejection, RejectionReason, Verdict
from constellation.encoding import Encoding, encode
from constellation.errors import InvalidInputError
from constellation.transport.codec.patterns import (
    check_device_id,
    check_incarnation,
    from_content,
    from_receipts,
    to_content,
    to_delta,
)
from constellation.v1 import patterns_pb2 as pb
from constellation.v1 import shard_pb2
from tests.deltas import PatternSpec, device_id, embedding
from tests.sync_client import make_delta_message

if TYPE_CHECKING:
    from collections.abc import Callable

    from constellation.core.ingest.deltas import Delta

PATTERNS = [PatternSpec(1, genres=("Drama",), contents=("film:1", "film:2")), PatternSpec(2)]


def decode_delta(message: pb.Delta, max_patterns: int = 64) -> Delta:
    return to_delta(device_id(0), 1, message, max_patterns)


def test_a_delta_keeps_its_columns_as_they_were_sent() -> None:
    message = make_delta_message(3, PATTERNS, [7], signals=[("film:1", 5)], snapshot=True)

    delta = decode_delta(message)

    assert delta.upserts is not None
    assert delta.upserts.embeddings == message.upserts.embeddings
    assert list(delta.upserts.content_ids) == ["film:1", "film:2"]
    assert (delta.seq, delta.is_snapshot) == (3, True)
    assert delta.removed_ids == PatternSpec(7).pattern_id
    assert list(delta.signal_contents) == ["film:1"]


def test_a_delta_without_patterns_has_no_columns() -> None:
    assert decode_delta(make_delta_message(1)).upserts is None


SPOILS: dict[str, Callable[[pb.Delta], object]] = {
    "seq": lambda delta: setattr(delta, "seq", 0),
    "ids": lambda delta: setattr(delta.upserts, "ids", bytes(31)),
    "removed_ids": lambda delta: setattr(delta, "removed_ids", bytes(15)),
    "encoding": lambda delta: setattr(delta.upserts, "encoding", 0),
    "embeddings": lambda delta: setattr(delta.upserts, "embeddings", bytes(388)),
    "success_rates": lambda delta: delta.upserts.success_rates.append(1),
    "times_of_day": lambda delta: setattr(delta.upserts, "times_of_day", b""),
    "genre_counts": lambda delta: setattr(delta.upserts, "genre_counts", b"\1"),
    "content_indexes": lambda delta: delta.upserts.content_indexes.append(0),
    "genres": lambda delta: delta.upserts.genres.extend(["a", "b"]),
    "content_ids": lambda delta: delta.upserts.content_ids.__setitem__(0, "x" * 65),
    "signals.hours": lambda delta: delta.signals.hours.append(1),
    "liked_content_ids": lambda delta: delta.liked_content_ids.append("film:1"),
    "withdrawn_content_ids": lambda delta: delta.withdrawn_content_ids.append("x" * 65),
}


@pytest.mark.parametrize("field", SPOILS)
def test_a_bad_column_is_refused_by_name(field: str) -> None:
    message = make_delta_message(1, PATTERNS)
    SPOILS[field](message)

    with pytest.raises(InvalidInputError) as raised:
        decode_delta(message)

    assert raised.value.field == field


@pytest.mark.parametrize(
    ("liked", "withdrawn", "problem"),
    [
        (["a", "b", "a"], [], "liked_content_ids must be distinct"),
        ([str(number) for number in range(129)], [], "liked_content_ids must be at most 128"),
        (["a\n"], [], "liked_content_ids must be printable"),
        ([], ["a"] * 129, "withdrawn_content_ids must be at most 128, got 129"),
        ([], [""], "withdrawn_content_ids must be from 1 to 64 bytes"),
    ],
)
def test_liked_content_that_no_device_can_have_is_refused(
    liked: list[str], withdrawn: list[str], problem: str
) -> None:
    message = make_delta_message(1, snapshot=True, liked=liked, withdrawn=withdrawn)

    with pytest.raises(InvalidInputError, match=problem):
        decode_delta(message)


def test_a_snapshot_has_liked_content_and_any_delta_may_withdraw_some() -> None:
    names = [str(number) for number in range(128)]

    snapshot = decode_delta(make_delta_message(1, snapshot=True, liked=names, withdrawn=["a"]))
    delta = decode_delta(make_delta_message(2, withdrawn=names))

    assert list(snapshot.liked_contents) == names
    assert (list(snapshot.withdrawn_contents), list(delta.withdrawn_contents)) == (["a"], names)


def test_upserts_and_removals_count_together() -> None:
    message = make_delta_message(1, PATTERNS, [7])

    assert decode_delta(message, max_patterns=3).upserts is not None
    with pytest.raises(InvalidInputError, match="at most 2 together, got 3"):
        decode_delta(message, max_patterns=2)


def test_empty_counts_mean_that_no_pattern_has_terms() -> None:
    message = make_delta_message(1, [PatternSpec(1)])
    message.upserts.genre_counts = message.upserts.content_counts = b""

    assert decode_delta(message).upserts is not None


@pytest.mark.parametrize("value", [b"", bytes(16), b"\1" * 15])
def test_a_device_id_is_sixteen_bytes_that_are_not_all_zero(value: bytes) -> None:
    with pytest.raises(InvalidInputError, match="device_id must"):
        check_device_id(value)


def test_an_incarnation_is_not_zero() -> None:
    with pytest.raises(InvalidInputError, match="incarnation must not be 0"):
        check_incarnation(0)


def test_an_ack_has_everything_of_its_receipts() -> None:
    rejections = [Rejection(seq, bytes(16), RejectionReason.BAD_NORM) for seq in (3, 4)]

    ack = from_receipts(
        [
            Receipt(Verdict.APPLIED, 3, rejections[:1], signals_dropped=1),
            Receipt(Verdict.RESYNC, 4, rejections[1:], signals_dropped=2),
        ]
    )

    assert (ack.through_seq, ack.expected_seq, ack.full_resync) == (4, 5, True)
    assert ack.signals_dropped == 3
    assert [(each.seq, each.reason) for each in ack.rejected] == [
        (3, pb.REJECTION_REASON_BAD_NORM),
        (4, pb.REJECTION_REASON_BAD_NORM),
    ]


def make_content(encoding: Encoding) -> shard_pb2.Content:
    return shard_pb2.Content(
        content_id="film:1",
        title="A film",
        content_type=pb.CONTENT_TYPE_MOVIE,
        genres=["Drama"],
        year=1999,
        encoding=pb.Encoding.ValueType(encoding),
        embedding=encode(embedding(1)[None], encoding),
    )


def test_the_int8_codes_of_a_content_item_are_stored_as_they_were_sent() -> None:
    message = make_content(Encoding.INT8)

    content = to_content(message, 0)

    assert content.codes == message.embedding[4:]
    assert from_content(content).embedding[4:] == message.embedding[4:]


@pytest.mark.parametrize("encoding", [Encoding.FLOAT32, Encoding.FLOAT16])
def test_other_embeddings_of_a_content_item_are_quantised(encoding: Encoding) -> None:
    content = to_content(make_content(encoding), 0)

    message = from_content(content)

    assert len(content.codes) == 384
    assert message.encoding == pb.ENCODING_INT8
    assert (message.title, list(message.genres), message.year) == ("A film", ["Drama"], 1999)


def test_a_content_item_may_leave_without_its_embedding() -> None:
    message = from_content(to_content(make_content(Encoding.INT8), 0), with_embedding=False)

    assert message.embedding == b""


def test_a_bad_content_item_is_refused_by_its_position() -> None:
    message = make_content(Encoding.INT8)
    message.content_type = pb.CONTENT_TYPE_UNSPECIFIED

    with pytest.raises(InvalidInputError, match=r"contents\[2\]\.content_type must be from 1 to 4"):
        to_content(message, 2)
