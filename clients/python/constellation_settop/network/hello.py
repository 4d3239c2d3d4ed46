"""How a session begins: what the device declares, and whether the shard needs a snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from constellation.v1 import patterns_pb2
from constellation.v1 import sync_pb2 as pb
from constellation_settop.columns import from_version

if TYPE_CHECKING:
    from constellation_settop.storage.outbox import Outbox

SDK_VERSION: Final = "0.1.0"


def build_hello(outbox: Outbox) -> pb.Hello:
    """Return the first frame of a session."""
    hello = pb.Hello(
        device_id=outbox.device_id,
        incarnation=outbox.incarnation,
        last_acked_seq=outbox.last_acked_seq,
        sdk_version=SDK_VERSION,
    )
    _declare_global_state(hello, outbox)
    return hello


def _declare_global_state(message: pb.Hello, outbox: Outbox) -> None:
    """Declare what the device has, so that the shard sends only the difference.

    A device that does not share declares nothing, because the rows that it has tell of its taste.
    """
    message.encodings.append(patterns_pb2.ENCODING_INT8)
    if not outbox.is_sharing:
        return
    state = outbox.global_state
    message.held_similar_ids = b"".join(state.similar)
    message.held_cluster_ids = b"".join(state.clusters)
    message.held_related_ids = b"".join(state.related)
    message.held_popular_ids = b"".join(state.popular)
    if state.version.generation or state.version.version:
        message.global_version.CopyFrom(from_version(state.version))


def needs_snapshot(outbox: Outbox, expected_seq: int, *, is_full_resync: bool) -> bool:
    """Return whether the pending deltas are not enough, so that the shard needs a snapshot.

    They are enough when the shard can apply them from `expected_seq` on without a gap. After a
    full resync, the first of them must be a snapshot.
    """
    pending = outbox.pending_deltas
    if is_full_resync:
        return not (pending and pending[0].is_snapshot and pending[0].seq >= expected_seq)
    if expected_seq - 1 > outbox.last_sent_seq:  # the file lost deltas that had been sent
        return True
    first = next((each for each in pending if each.seq >= expected_seq), None)
    if first is None:  # a shard restored from a backup lacks deltas that are no longer here
        return expected_seq < outbox.next_seq
    return first.seq > expected_seq and not first.is_snapshot
