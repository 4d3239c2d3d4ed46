from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from constellation.federated.aggregate import no_clusters
from federation.merge.terms import Terms
from federation.shards.saved_parts import (
    CHANGES_PART,
    LIKES_PART,
    MAX_CHANGE_PARTS,
    PartChanges,
    SavedParts,
)
from tests.federation.aggregates import make_cluster_rows, make_update
from tests.federation.joined_shards import HOUR, JoinedShards, draw_histories

if TYPE_CHECKING:
    from constellation.federated.aggregate import AggregateUpdate

ADDRESSES = {"a:1"}
IDS = list(range(1, 11))


class JournaledShards(JoinedShards):
    """Shards whose aggregates are saved in parts."""

    def __init__(self) -> None:
        super().__init__()
        self.saved = SavedParts()
        self.journal: dict[int, bytes] = {}

    def update(self, update: AggregateUpdate) -> None:
        known = self.shards.get(update.version.shard_id)
        is_restarted = known is None or update.version.epoch > known.version.epoch
        self.apply_update(update)
        self.saved.note_change(update.version.shard_id, has_likes=False, is_restarted=is_restarted)

    def save(self, *, fails: bool = False) -> PartChanges:
        changes = self.saved.take_changes(self.shards, self.terms)
        if fails:
            self.saved.put_back(changes)
            return changes
        for part in changes.removed:
            self.journal.pop(part, None)
        self.journal |= changes.written
        return changes

    def restart(self) -> JournaledShards:
        """Return what another process makes of the journal."""
        restored = JournaledShards()
        restored.journal = dict(self.journal)
        found = restored.saved.restore(self.journal, restored.terms, ADDRESSES)
        restored.shards = dict(found.aggregates)
        return restored


def make_first_update(shard_id: int = 0, epoch: int = 1) -> AggregateUpdate:
    rows = make_cluster_rows(IDS, [5] * len(IDS))
    return make_update(shard_id, rows, {("a", HOUR): 3}, epoch=epoch)


def make_change(version: int, shard_id: int = 0, clusters: int = 1) -> AggregateUpdate:
    """Return an update in which some clusters have another device."""
    rows = make_cluster_rows(IDS[:clusters], [5 + version] * clusters, version=version)
    counts = {("b", HOUR): version}
    return make_update(shard_id, rows, counts, version=version, base_version=version - 1)


def save_changes(shards: JournaledShards, count: int) -> list[PartChanges]:
    """Save a whole aggregate of shard 0, then so many changes of it, each on its own."""
    shards.update(make_first_update())
    saves = [shards.save()]
    for version in range(2, 2 + count):
        shards.update(make_change(version))
        saves.append(shards.save())
    return saves


def test_a_later_save_writes_only_what_changed() -> None:
    whole, changes = save_changes(JournaledShards(), 1)

    assert list(whole.written) == [0]
    assert list(changes.written) == [CHANGES_PART]
    assert len(changes.written[CHANGES_PART]) < len(whole.written[0]) / 5


def test_a_shard_that_did_not_change_is_not_saved() -> None:
    shards = JournaledShards()
    save_changes(shards, 1)

    assert not shards.save().written


def test_an_answer_without_changes_is_saved_as_such() -> None:
    shards = JournaledShards()
    save_changes(shards, 1)
    nothing = make_update(0, no_clusters(), {}, version=2, base_version=2)

    shards.update(nothing)
    (part,) = shards.save().written.values()

    assert len(part) < 100


def test_changes_are_replaced_by_the_whole_sums_before_there_are_too_many() -> None:
    shards = JournaledShards()
    saves = save_changes(shards, 3 * MAX_CHANGE_PARTS)

    wholes = [save for save in saves[1:] if 0 in save.written]
    assert len(wholes) == 3
    assert all(save.removed[0] == CHANGES_PART for save in wholes)
    assert len(shards.journal) <= 1 + MAX_CHANGE_PARTS


def test_not_all_shards_are_saved_whole_at_once() -> None:
    shards = JournaledShards()
    for shard_id in range(MAX_CHANGE_PARTS):
        shards.update(make_first_update(shard_id))
    shards.save()
    wholes = []
    for version in range(2, 2 + 2 * MAX_CHANGE_PARTS):
        for shard_id in range(MAX_CHANGE_PARTS):
            shards.update(make_change(version, shard_id))
        wholes.append(sum(part < LIKES_PART for part in shards.save().written))

    assert max(wholes) == 1
    assert sum(wholes) >= MAX_CHANGE_PARTS


def test_a_shard_of_which_most_changed_is_saved_whole() -> None:
    shards = JournaledShards()
    shards.update(make_first_update())
    shards.save()

    shards.update(make_change(2, clusters=8))

    assert list(shards.save().written) == [0]


def test_a_restarted_shard_is_saved_whole_and_its_changes_are_removed() -> None:
    shards = JournaledShards()
    save_changes(shards, 2)

    shards.update(make_first_update(epoch=2))
    changes = shards.save()

    assert list(changes.written) == [0]
    assert set(shards.journal) == {0}
    assert shards.restart().shards[0].version.epoch == 2


def test_after_a_failed_save_the_sums_are_written_whole() -> None:
    shards = JournaledShards()
    save_changes(shards, 2)
    shards.update(make_change(4))
    shards.save(fails=True)

    assert list(shards.save().written) == [0]
    assert set(shards.journal) == {0}


def test_changes_build_on_what_was_restored() -> None:
    shards = JournaledShards()
    save_changes(shards, 2)
    restored = shards.restart()

    restored.update(make_change(4))
    changes = restored.save()

    assert list(changes.written) == [CHANGES_PART + 2 * LIKES_PART]
    again = restored.restart().shards[0]
    assert again.version.version == 4
    assert again.clusters.features.devices.tolist() == [9] + [5] * 9


def test_changes_of_an_address_that_is_not_configured_are_unknown() -> None:
    shards = JournaledShards()
    save_changes(shards, 2)

    restored = SavedParts().restore(shards.journal, Terms.empty(), {"b:1"})

    assert not restored.aggregates
    assert list(restored.unknown_parts) == [0, CHANGES_PART, CHANGES_PART + LIKES_PART]


def test_changes_without_the_sums_that_they_build_on_are_unknown() -> None:
    shards = JournaledShards()
    save_changes(shards, 1)
    del shards.journal[0]

    restored = SavedParts().restore(shards.journal, Terms.empty(), ADDRESSES)

    assert not restored.aggregates
    assert list(restored.unknown_parts) == [CHANGES_PART]


@settings(max_examples=60, deadline=None)
@given(draw_histories(), st.data())
def test_a_journal_holds_what_was_last_saved_however_often_that_was(
    updates: list[AggregateUpdate], data: st.DataObject
) -> None:
    shards = JournaledShards()
    for each in updates:
        shards.update(each)
        match data.draw(st.sampled_from(["save", "fail", "restart", "go on"])):
            case "save":
                shards.save()
            case "fail":
                shards.save(fails=True)
            case "restart":
                shards.save()
                shards = shards.restart()
    shards.save()

    restored = shards.restart()

    assert restored.to_sums([1, 2, 3, 4]) == shards.to_sums([1, 2, 3, 4])
    assert {key: each.version for key, each in restored.shards.items()} == {
        key: each.version for key, each in shards.shards.items()
    }
