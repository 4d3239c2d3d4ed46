"""Converts patterns, deltas, receipts and content items between messages and values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.global_state import GlobalVersion
from constellation.core.ingest.deltas import Delta, PatternColumns, Receipt, Rejection, Verdict
from constellation.core.rows import MAX_LIKED, MAX_SIGNALS_PER_HOUR, PatternRows, TermKind
from constellation.core.store import Content
from constellation.core.table.hourly import RING_HOURS
from constellation.encoding import (
    ID_BYTES,
    INT8_ROW,
    ROW_BYTES,
    Encoding,
    encode_codes,
    quantise,
)
from constellation.errors import InvalidInputError
from constellation.federated.terms import MAX_GENRES, check_new_term, check_term
from constellation.transport.codec.embeddings import decode_embeddings, to_encoding
from constellation.v1 import patterns_pb2 as pb
from constellation.v1 import shard_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from constellation.core.index.similar import SimilarPatterns
    from constellation.core.table.vocabulary import Vocabulary
    from constellation.encoding import Embeddings

MAX_SEQ: Final = 2**63 - 1
"""The largest delta number: a store keeps it in a signed 64-bit integer."""
_MAX_SIGNALS: Final = RING_HOURS * MAX_SIGNALS_PER_HOUR
"""The most signals of a delta: a device may send so many for each hour of the trends' window."""
_COLUMNS: Final = (
    "embeddings",
    "success_rates",
    "sample_counts",
    "times_of_day",
    "day_types",
    "content_types",
    "created_at",
    "updated_at",
    "genre_counts",
    "genre_indexes",
    "content_counts",
    "content_indexes",
)
"""The columns whose lengths are checked, in the order of `_require_lengths`."""
_MAX_TITLE_BYTES: Final = 256
_CONTENT_TYPES: Final = range(1, 5)
"""The content types that the catalogue accepts: all but unspecified."""


def check_device_id(device_id: bytes) -> bytes:
    """Return a device id; raise InvalidInputError unless it is 16 bytes that are not all zero."""
    if len(device_id) != ID_BYTES:
        raise InvalidInputError("device_id", f"must be {ID_BYTES} bytes, got {len(device_id)}")
    if not any(device_id):
        raise InvalidInputError("device_id", "must not be all zeros")
    return device_id


def check_incarnation(incarnation: int) -> int:
    """Return an incarnation; raise InvalidInputError when it is 0."""
    if not incarnation:
        raise InvalidInputError("incarnation", "must not be 0: draw it once, at random")
    return incarnation


def check_ids(ids: bytes, field: str) -> bytes:
    """Return a column of 16-byte ids; raise InvalidInputError when an id is cut short."""
    if len(ids) % ID_BYTES:
        raise InvalidInputError(field, f"must be {ID_BYTES} bytes each, got {len(ids)} in all")
    return ids


def to_delta(device_id: bytes, incarnation: int, delta: pb.Delta, max_patterns: int) -> Delta:
    """Return a delta with columns of the right lengths; the commit checks their values.

    Raises InvalidInputError, naming the field.
    """
    seq = delta.seq
    if not 0 < seq <= MAX_SEQ:
        raise InvalidInputError("seq", f"must be from 1 to 2**63 - 1, got {seq}")
    sent = delta.upserts
    upserts = _to_columns(sent) if sent.ids or sent.embeddings else None
    removed = check_ids(delta.removed_ids, "removed_ids")
    count = len(removed) // ID_BYTES
    if upserts is not None:
        count += len(upserts.ids) // ID_BYTES
    if count > max_patterns:
        raise InvalidInputError(
            "upserts", f"and removed_ids must be at most {max_patterns} together, got {count}"
        )
    contents, hours = _read_signals(delta.signals) if delta.HasField("signals") else ((), ())
    liked, withdrawn = delta.liked_content_ids, delta.withdrawn_content_ids
    if liked or withdrawn:
        _check_liked(delta)
    return Delta(
        device_id=device_id,
        incarnation=incarnation,
        seq=seq,
        upserts=upserts,
        removed_ids=removed,
        signal_contents=contents,
        signal_hours=hours,
        liked_contents=liked,
        withdrawn_contents=withdrawn,
        is_snapshot=delta.snapshot,
        size_bytes=delta.ByteSize(),
    )


def _read_signals(signals: pb.SignalColumns) -> tuple[Sequence[str], Sequence[int]]:
    contents, hours = signals.content_ids, signals.hours
    if len(contents) > _MAX_SIGNALS:
        raise InvalidInputError(
            "signals.content_ids", f"must be at most {_MAX_SIGNALS}, got {len(contents)}"
        )
    if len(contents) != len(hours):
        raise InvalidInputError(
            "signals.hours",
            f"must be one for each of {len(contents)} content_ids, got {len(hours)}",
        )
    return _check_texts(contents, "signals.content_ids"), hours


def _check_liked(delta: pb.Delta) -> None:
    liked, withdrawn = delta.liked_content_ids, delta.withdrawn_content_ids
    for field, contents in (("liked_content_ids", liked), ("withdrawn_content_ids", withdrawn)):
        if len(contents) > MAX_LIKED:
            raise InvalidInputError(field, f"must be at most {MAX_LIKED}, got {len(contents)}")
    if liked and not delta.snapshot:
        raise InvalidInputError("liked_content_ids", "must be empty unless the delta is a snapshot")
    if len(set(_check_texts(liked, "liked_content_ids"))) != len(liked):
        raise InvalidInputError("liked_content_ids", "must be distinct")
    for text in withdrawn:  # they are only looked up
        check_content_id(text, "withdrawn_content_ids")


def _to_columns(sent: pb.PatternColumns) -> PatternColumns:
    """Return columns whose lengths agree. Reads each field once: that is most of the cost."""
    columns = PatternColumns(
        ids=check_ids(sent.ids, "ids"),
        encoding=to_encoding(sent.encoding),
        embeddings=sent.embeddings,
        success_rates=sent.success_rates,
        sample_counts=sent.sample_counts,
        times_of_day=sent.times_of_day,
        day_types=sent.day_types,
        content_types=sent.content_types,
        created_at=sent.created_at,
        updated_at=sent.updated_at,
        genres=_check_texts(sent.genres, "genres"),
        genre_counts=sent.genre_counts,
        genre_indexes=sent.genre_indexes,
        content_ids=_check_texts(sent.content_ids, "content_ids"),
        content_counts=sent.content_counts,
        content_indexes=sent.content_indexes,
    )
    _require_lengths(columns)
    return columns


def _require_lengths(columns: PatternColumns) -> None:
    """Raise InvalidInputError unless every column has one entry per pattern."""
    count = len(columns.ids) // ID_BYTES
    genres, contents = columns.genre_counts, columns.content_counts
    _require_all_used("genres", columns.genres, columns.genre_indexes)
    _require_all_used("content_ids", columns.content_ids, columns.content_indexes)
    found = (
        len(columns.embeddings),
        len(columns.success_rates),
        len(columns.sample_counts),
        len(columns.times_of_day),
        len(columns.day_types),
        len(columns.content_types),
        len(columns.created_at),
        len(columns.updated_at),
        len(genres) or count,
        len(columns.genre_indexes),
        len(contents) or count,
        len(columns.content_indexes),
    )
    embeddings = count * ROW_BYTES[columns.encoding]
    expected = (embeddings, *(count,) * 8, sum(genres), count, sum(contents))
    if found == expected:
        return
    for field, length, needed in zip(_COLUMNS, found, expected, strict=True):
        if length != needed:
            raise InvalidInputError(
                field, f"must have length {needed} for {count} patterns, got {length}"
            )


def _require_all_used(field: str, texts: Sequence[str], indexes: Sequence[int]) -> None:
    if texts and len(texts) > len(indexes):
        raise InvalidInputError(
            field,
            f"must each be used by an index, got {len(texts)} texts and {len(indexes)} indexes",
        )


def _check_texts(texts: Sequence[str], field: str) -> Sequence[str]:
    if not texts:  # a loop over nothing costs as much as two fields
        return texts
    try:
        for text in texts:
            check_new_term(text)
    except ValueError as error:
        raise InvalidInputError(field, str(error)) from None
    return texts


def check_content_id(content_id: str, field: str = "content_id") -> str:
    """Return a content id to look up; raise InvalidInputError unless it is a valid term."""
    try:
        return check_term(content_id)
    except ValueError as error:
        raise InvalidInputError(field, str(error)) from None


def from_receipts(receipts: Sequence[Receipt]) -> pb.DeltaAck:
    """Return the ack of the deltas of one call, of which there is at least one."""
    last = receipts[-1]
    return pb.DeltaAck(
        through_seq=last.through_seq,
        expected_seq=last.through_seq + 1,
        full_resync=last.verdict is Verdict.RESYNC,
        rejected=[from_rejection(each) for receipt in receipts for each in receipt.rejections],
        signals_dropped=sum(receipt.signals_dropped for receipt in receipts),
    )


def from_rejection(rejection: Rejection) -> pb.Rejection:
    """Return the message of one rejection."""
    return pb.Rejection(
        seq=rejection.seq,
        pattern_id=rejection.pattern_id,
        reason=pb.RejectionReason.ValueType(rejection.reason),
    )


def to_version(version: pb.GlobalVersion) -> GlobalVersion:
    return GlobalVersion(version.generation, version.version)


def from_version(version: GlobalVersion) -> pb.GlobalVersion:
    return pb.GlobalVersion(generation=version.generation, version=version.version)


def from_similar_patterns(
    found: SimilarPatterns, vocabulary: Vocabulary, encoding: Encoding
) -> pb.PatternColumns:
    """Return patterns as other devices see them: under pseudonyms, without their owners."""
    return from_rows(found.rows, b"".join(found.pseudonyms), vocabulary, encoding)


def from_rows(
    rows: PatternRows, ids: bytes, vocabulary: Vocabulary, encoding: Encoding
) -> pb.PatternColumns:
    """Return stored rows as patterns with the given ids, 16 bytes each."""
    columns = pb.PatternColumns(
        ids=ids,
        encoding=pb.Encoding.ValueType(encoding),
        embeddings=encode_codes(rows["codes"], encoding),
        success_rates=rows["success_rate"].tolist(),
        sample_counts=rows["sample_count"].tolist(),
        times_of_day=rows["time_of_day"].tobytes(),
        day_types=rows["day_type"].tobytes(),
        content_types=rows["content_type"].tobytes(),
        created_at=rows["created_at"].tolist(),
        updated_at=rows["updated_at"].tolist(),
    )
    genres, columns.genre_counts, indexes = _encode_dictionary(rows["genres"])
    columns.genres.extend(vocabulary.text(TermKind.GENRE, number) for number in genres)
    columns.genre_indexes.extend(indexes)
    contents, columns.content_counts, indexes = _encode_dictionary(rows["contents"])
    columns.content_ids.extend(vocabulary.text(TermKind.CONTENT, number) for number in contents)
    columns.content_indexes.extend(indexes)
    return columns


def _encode_dictionary(numbers: NDArray[np.unsignedinteger]) -> tuple[list[int], bytes, list[int]]:
    """Return the distinct terms of some rows, each row's count, and indexes into the former.

    `numbers` has one row per pattern; 0 stands for no term.
    """
    present = numbers > 0
    distinct, indexes = np.unique(numbers[present], return_inverse=True)
    return distinct.tolist(), present.sum(axis=1).astype(np.uint8).tobytes(), indexes.tolist()


def to_content(content: shard_pb2.Content, position: int) -> Content:
    """Return the content item at a position of a request.

    Raises InvalidInputError, naming that position and the field.
    """
    field = f"contents[{position}]"
    _check_texts([content.content_id], f"{field}.content_id")
    if len(content.title.encode()) > _MAX_TITLE_BYTES:
        raise InvalidInputError(f"{field}.title", f"must be at most {_MAX_TITLE_BYTES} bytes")
    if "\0" in content.title:
        raise InvalidInputError(f"{field}.title", "must not hold NUL")
    if content.content_type not in _CONTENT_TYPES:
        raise InvalidInputError(
            f"{field}.content_type", f"must be from 1 to 4, got {content.content_type}"
        )
    if len(content.genres) > MAX_GENRES:
        raise InvalidInputError(
            f"{field}.genres", f"must be at most {MAX_GENRES}, got {len(content.genres)}"
        )
    embedding = f"{field}.embedding"
    unit_rows = decode_embeddings(content.embedding, content.encoding, embedding)
    if len(unit_rows) != 1:
        raise InvalidInputError(embedding, f"must be one row, got {len(unit_rows)}")
    return Content(
        content.content_id,
        content.title,
        int(content.content_type),
        tuple(_check_texts(content.genres, f"{field}.genres")),
        content.year,
        _to_codes(content, unit_rows),
    )


def _to_codes(content: shard_pb2.Content, unit_row: Embeddings) -> bytes:
    """Return INT8 codes, one row; those that were sent as INT8 are kept.

    Quantising them again would lose precision a second time.
    """
    if content.encoding == pb.ENCODING_INT8:
        return np.frombuffer(content.embedding, INT8_ROW)["codes"].tobytes()
    return quantise(unit_row)[0].tobytes()


def from_content(content: Content, *, with_embedding: bool = True) -> shard_pb2.Content:
    """Return the message of one content item, with its embedding in INT8."""
    message = shard_pb2.Content(
        content_id=content.content_id,
        title=content.title,
        content_type=pb.ContentType.ValueType(content.content_type),
        genres=content.genres,
        year=content.year,
    )
    if with_embedding:
        codes = np.frombuffer(content.codes, np.int8).reshape(1, -1)
        message.encoding = pb.ENCODING_INT8
        message.embedding = encode_codes(codes, Encoding.INT8)
    return message
