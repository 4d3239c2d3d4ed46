"""Withdrawals: what a household forgets, or no longer shares, leaves the file and the shard.

Each of them replaces the pending deltas with a snapshot; the shard deletes what that lacks.
"""

from __future__ import annotations

import logging
import math
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from constellation_settop.storage.history import (
    delete_history,
    find_liked,
    read_history,
    write_history,
)
from constellation_settop.storage.identity import draw_incarnation
from constellation_settop.storage.problems import explain_read_errors
from constellation_settop.storage.rows import (
    delete_everything,
    delete_profile,
    mark_shared,
    write_global,
    write_learned,
)
from constellation_settop.storage.views import delete_views

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from constellation_settop.storage.device_file import DeviceFile
    from constellation_settop.values import LocalChanges, Signal

log = logging.getLogger("constellation_settop")


def forget_contents(file: DeviceFile, changes: LocalChanges, content_ids: Sequence[str]) -> None:
    """Delete content items from a profile's history; `changes` are those of its patterns."""
    threshold, seq = file.device.shared_threshold, file.device.next_seq
    with _withdraw(file, content_ids, changes.signals):
        write_learned(file.connection, changes, threshold, seq)
        write_history(file.connection, changes.profile, changes.history)
        delete_history(file.connection, changes.profile, content_ids)
        delete_views(file.connection, changes.profile)


def forget_profile(file: DeviceFile, profile: str) -> None:
    """Delete everything about a profile."""
    with explain_read_errors():
        content_ids = [entry.content_id for entry in read_history(file.connection, profile)]
    with _withdraw(file, content_ids):
        delete_profile(file.connection, profile)


def forget_everything(file: DeviceFile) -> None:
    """Delete everything about the household, and begin a new incarnation."""
    kept = replace(file.global_state, similar={}, related={})
    with file.transaction() as after:
        delete_everything(file.connection)
        begun = replace(after.device, incarnation=draw_incarnation())
        after.device, after.pending = file.queue.insert_snapshot(begun)
        after.global_state = kept
    log.info("everything that was learned is forgotten")


def set_sharing(file: DeviceFile, *, is_sharing: bool) -> None:
    """Share what was learned, or withdraw all of it."""
    device = file.device
    threshold = device.quality_threshold if is_sharing else math.inf
    with file.transaction() as after:
        mark_shared(file.connection, threshold, device.next_seq)
        changed = replace(device, is_sharing=is_sharing)
        after.device, after.pending = file.queue.insert_snapshot(changed)
    log.info("sharing is %s", "on" if is_sharing else "off: what was shared is withdrawn")


@contextmanager
def _withdraw(
    file: DeviceFile, content_ids: Sequence[str], new_signals: Sequence[Signal] = ()
) -> Iterator[None]:
    """Replace the pending deltas with a snapshot of what the block leaves.

    Signals of the content items that never left the device are dropped, unless a profile still
    likes them, and so are all related rows. A device declares the rows that it has: a row that
    stayed could tell of what is forgotten, and if only those rows went, a shard that had sent rows
    of films of its choice would learn which of them the household had watched.
    """
    before = file.global_state
    with file.transaction() as after:
        yield
        gone = set(content_ids) - find_liked(file.connection, content_ids)
        after.global_state = replace(before, related={})  # the next sync brings what is left
        write_global(file.connection, before, after.global_state)
        signals = [*file.queue.read_unsent_signals(), *new_signals]
        kept_signals = [each for each in signals if each.content_id not in gone]
        after.device, after.pending = file.queue.insert_snapshot(after.device, kept_signals)
