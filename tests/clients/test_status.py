"""The status of a device says what was learned, sent and refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from constellation.v1 import patterns_pb2
from constellation_settop import (
    View,
)
from tests.clients.quick_device import open_quick_device
from tests.clients.stub_shard import StubShard

if TYPE_CHECKING:
    from pathlib import Path


BELOW_QUALITY = patterns_pb2.REJECTION_REASON_BELOW_QUALITY


UNKNOWN_REASON = patterns_pb2.RejectionReason.ValueType(99)


async def test_the_status_says_what_was_learned_sent_and_refused(tmp_path: Path) -> None:
    rejection = patterns_pb2.Rejection(seq=1, pattern_id=bytes(16), reason=BELOW_QUALITY)
    stub = StubShard()
    async with open_quick_device(stub, tmp_path) as device:
        device.observe(View("0-0", 1.0))
        device.observe(View("0-1", 0.1))
        device.observe(View("elsewhere", 0.9))
        before = device.status()
        await device.flush(5)
        stub.rejections = [
            rejection,
            patterns_pb2.Rejection(seq=1, pattern_id=bytes(16), reason=UNKNOWN_REASON),
        ]
        device.observe(View("1-0", 1.0))
        await device.flush(5)
        after = device.status()

    assert (before.liked, before.disliked, before.unknown_content_count) == (1, 1, 1)
    assert (before.patterns, before.patterns_below_quality, before.last_acked_seq) == (1, 1, 0)
    assert (after.liked, after.patterns, after.waiting_deltas) == (2, 2, 0)
    assert after.last_acked_seq > before.last_acked_seq
    assert after.rejections == {
        "below quality": 1, "a reason that this version does not know": 1
    }  # fmt: skip
    assert after.is_connected
    assert after.catalogue_size == 40
