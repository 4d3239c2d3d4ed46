from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from constellation_settop import Outbox
from constellation_settop.network.hello import build_hello, needs_snapshot
from constellation_settop.values import GlobalState, Version
from tests.clients.samples import (
    make_cluster,
    make_clusters_update,
    make_learned_changes,
    receive_update,
    to_cluster_id,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TWO_CLUSTERS = (make_cluster(1, "0-0", ["0-1"], devices=60), make_cluster(2, "1-0", ["1-1"]))


@pytest.fixture
def outbox() -> Iterator[Outbox]:
    with Outbox.open(":memory:") as outbox:
        yield outbox


def append_and_send(outbox: Outbox, count: int) -> None:
    """Append deltas 1 to `count`, and mark all of them as sent."""
    for number in range(1, count + 1):
        outbox.append(make_learned_changes(number))
        outbox.mark_sent(number)


def test_hello_says_who_the_device_is_and_where_it_stands(outbox: Outbox) -> None:
    append_and_send(outbox, 2)
    outbox.acknowledge(1)

    hello = build_hello(outbox)

    assert hello.device_id == outbox.device_id
    assert hello.incarnation == outbox.incarnation
    assert hello.last_acked_seq == 1


def test_a_version_is_declared_once_there_is_one(outbox: Outbox) -> None:
    assert not build_hello(outbox).HasField("global_version")

    outbox.save_global_state(GlobalState(Version(3, 4)))

    assert build_hello(outbox).global_version.generation == 3
    assert build_hello(outbox).global_version.version == 4


def test_clusters_are_declared_again_after_a_restart(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "a") as outbox:
        receive_update(outbox, make_clusters_update(TWO_CLUSTERS, 2))

    with Outbox.open(tmp_path / "a") as outbox:
        assert build_hello(outbox).held_cluster_ids == to_cluster_id(1) + to_cluster_id(2)
        assert outbox.global_state.clusters[to_cluster_id(1)].devices == 60


def test_pending_deltas_from_the_expected_one_on_are_enough(outbox: Outbox) -> None:
    append_and_send(outbox, 3)

    assert not needs_snapshot(outbox, 1, is_full_resync=False)
    assert not needs_snapshot(outbox, 3, is_full_resync=False)
    assert not needs_snapshot(outbox, 4, is_full_resync=False)


def test_a_delta_that_the_device_no_longer_has_needs_a_snapshot(outbox: Outbox) -> None:
    append_and_send(outbox, 3)
    outbox.acknowledge(2)

    assert needs_snapshot(outbox, 2, is_full_resync=False)
    assert not needs_snapshot(outbox, 3, is_full_resync=False)


def test_a_shard_behind_an_empty_outbox_needs_a_snapshot(outbox: Outbox) -> None:
    append_and_send(outbox, 3)
    outbox.acknowledge(3)

    assert needs_snapshot(outbox, 3, is_full_resync=False)
    assert not needs_snapshot(outbox, 4, is_full_resync=False)


def test_a_shard_that_is_ahead_of_the_device_needs_a_snapshot(outbox: Outbox) -> None:
    outbox.append(make_learned_changes(1))

    assert needs_snapshot(outbox, 40, is_full_resync=False)


def test_a_full_resync_needs_a_snapshot_unless_one_waits(outbox: Outbox) -> None:
    append_and_send(outbox, 2)
    assert needs_snapshot(outbox, 1, is_full_resync=True)

    outbox.compact_to_snapshot()

    assert not needs_snapshot(outbox, 1, is_full_resync=True)
