from __future__ import annotations

from constellation_settop.recommending.history import MAX_HISTORY, History
from constellation_settop.values import HistoryEntry


def make_entry(content_id: str, opinion: int = 64) -> HistoryEntry:
    return HistoryEntry(content_id, opinion, 1)


def test_the_latest_view_wins_and_moves_its_content_to_the_end() -> None:
    history = History([make_entry("a"), make_entry("b")])

    history.record(make_entry("a", 20))

    assert [(each.content_id, each.opinion) for each in history.entries] == [("b", 64), ("a", 20)]


def test_only_the_newest_entries_are_kept() -> None:
    history = History([make_entry(str(number)) for number in range(MAX_HISTORY + 5)])
    history.record(make_entry("new"))

    assert len(history) == MAX_HISTORY
    assert history.entries[0].content_id == "6"
    assert history.entries[-1].content_id == "new"


def test_what_is_not_liked_any_more_is_withdrawn_until_it_is_liked_again() -> None:
    history = History([make_entry("a"), make_entry("b"), make_entry("c", -16)])
    for content_id in ("a", "b", "c"):
        history.record(make_entry(content_id, -64))
    history.record(make_entry("b"))

    entries, withdrawn = history.take_changes()

    assert withdrawn == ["a"]
    assert [each.content_id for each in entries] == ["a", "c", "b"]
    assert history.take_changes() == ([], [])


def test_changes_put_back_are_taken_again_and_newer_ones_win() -> None:
    history = History([make_entry("a")])
    history.record(make_entry("a", -64))
    history.record(make_entry("b"))
    changes = history.take_changes()
    history.record(make_entry("a", -16))

    history.restore_changes(*changes)

    entries, withdrawn = history.take_changes()
    assert [(each.content_id, each.opinion) for each in entries] == [("b", 64), ("a", -16)]
    assert withdrawn == ["a"]


def test_what_is_removed_was_never_there() -> None:
    history = History([make_entry("a")])
    history.record(make_entry("a", -64))

    history.remove(["a", "unheard of"])

    assert history.find("a") is None
    assert history.take_changes() == ([], [])
