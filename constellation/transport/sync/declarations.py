"""What a device declares when it asks for updates: the format that it reads, and what it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from constellation.core.device_update import HeldState
from constellation.encoding import ID_BYTES, Encoding
from constellation.errors import InvalidInputError
from constellation.transport.codec.patterns import check_ids, to_version
from constellation.transport.sync.limits import MAX_HELD_IDS, MAX_SDK_VERSION_BYTES

if TYPE_CHECKING:
    from constellation.v1 import sync_pb2 as pb

_PREFERRED_ENCODINGS: Final = (Encoding.INT8, Encoding.FLOAT16, Encoding.FLOAT32)


def negotiate_format(hello: pb.Hello, default: int) -> tuple[Encoding, int]:
    """Return the encoding of a device's updates, and how many similar patterns it can keep."""
    if len(hello.sdk_version.encode()) > MAX_SDK_VERSION_BYTES:
        raise InvalidInputError("sdk_version", f"must be at most {MAX_SDK_VERSION_BYTES} bytes")
    known = [encoding for encoding in _PREFERRED_ENCODINGS if int(encoding) in hello.encodings]
    if hello.encodings and not known:
        raise InvalidInputError(
            "encodings",
            "must name at least one of 1 (FLOAT32), 2 (FLOAT16) and 3 (INT8), "
            f"got {list(hello.encodings)}",
        )
    return (known or [Encoding.INT8])[0], min(hello.pattern_capacity or default, default)


def to_held_state(hello: pb.Hello) -> HeldState:
    """Return what a device declares to hold. Raises InvalidInputError for invalid ids."""
    return HeldState(
        to_version(hello.global_version),
        _to_held_ids(hello.held_similar_ids, "held_similar_ids"),
        _to_held_ids(hello.held_cluster_ids, "held_cluster_ids"),
        _check_held_ids(hello.held_related_ids, "held_related_ids"),
        _to_held_ids(hello.held_popular_ids, "held_popular_ids"),
    )


def _to_held_ids(ids: bytes, field: str) -> frozenset[bytes]:
    _check_held_ids(ids, field)
    return frozenset(ids[at : at + ID_BYTES] for at in range(0, len(ids), ID_BYTES))


def _check_held_ids(ids: bytes, field: str) -> bytes:
    check_ids(ids, field)
    if len(ids) > MAX_HELD_IDS * ID_BYTES:
        raise InvalidInputError(
            field, f"must be at most {MAX_HELD_IDS} ids, got {len(ids) // ID_BYTES}"
        )
    return ids
