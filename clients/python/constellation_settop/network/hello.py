"""What a device declares of itself, so that a shard sends only what it lacks."""

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
    _add_held_state(hello, outbox)
    return hello


def build_pull_request(outbox: Outbox) -> pb.PullPatternsRequest:
    """Return the request for what changed."""
    request = pb.PullPatternsRequest(device_id=outbox.device_id)
    _add_held_state(request, outbox)
    return request


def _add_held_state(message: pb.Hello | pb.PullPatternsRequest, outbox: Outbox) -> None:
    held = outbox.global_state
    message.held_similar_ids = b"".join(held.similar)
    message.held_cluster_ids = b"".join(held.clusters)
    message.encodings.append(patterns_pb2.ENCODING_INT8)
    if held.version.generation or held.version.version:
        message.global_version.CopyFrom(from_version(held.version))
