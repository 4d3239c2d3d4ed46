"""What a shard's store has of a device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from constellation.core.rows import TermKind

if TYPE_CHECKING:
    from constellation.server import RunningShard
    from constellation_settop import Device


def read_liked(shard: RunningShard, device: Device) -> set[str]:
    """Return what a shard has stored as liked by a device."""
    table = shard.manager.table
    row = table.find_device(device.outbox.device_id)
    contents = table.liked.read(np.array([row]))["contents"][0]
    numbers = contents[contents > 0].tolist()
    return {table.vocabulary.text(TermKind.CONTENT, number) for number in numbers}


def read_supporting(shard: RunningShard, device: Device) -> set[str]:
    """Return the content items that a device's patterns in a shard's store were learned from."""
    table = shard.manager.table
    row = table.find_device(device.outbox.device_id)
    slots = table.find_patterns(np.array([row])).slots
    contents = table.patterns["contents"][slots].ravel()
    numbers = contents[contents > 0].tolist()
    return {table.vocabulary.text(TermKind.CONTENT, number) for number in numbers}
