from __future__ import annotations

import numpy as np

from constellation.core.aggregates.disclosure import Disclosure
from constellation.core.rows import TermKind
from constellation.core.store import Term
from tests.core.aggregates.aggregated_table import (
    HOUR,
    RULES,
    TWO_ANONYMITY_RULES,
    AggregatedTable,
    make_anchors,
)
from tests.deltas import PatternSpec, make_delta


def test_a_content_travels_once_enough_devices_support_or_watched_it() -> None:
    shard = AggregatedTable(TWO_ANONYMITY_RULES)
    shard.use_anchors(make_anchors())
    alone = [PatternSpec(1, 0, contents=("secret", "shared"))]
    shard.commit(
        make_delta(0, 1, alone, signals=[("secret", HOUR), ("shared", HOUR)]),
        make_delta(1, 1, [PatternSpec(1, 0, contents=("shared",))]),
    )

    update = shard.get_update()

    assert list(update.clusters.contents.texts) == ["shared"]
    assert update.clusters.contents.devices.tolist() == [2]
    assert list(update.hours.content_ids) == ["shared"]


def test_what_is_new_to_travel_brings_its_past() -> None:
    shard = AggregatedTable(TWO_ANONYMITY_RULES)
    shard.use_anchors(make_anchors())
    shard.commit(make_delta(0, 1, [PatternSpec(1)], signals=[("late", HOUR - 5), ("late", HOUR)]))
    first = shard.get_update()
    shard.commit(make_delta(1, 1, [PatternSpec(1)], signals=[("late", HOUR)]))

    second = shard.get_update(first.version.version)

    assert list(first.hours.content_ids) == []
    assert sorted(zip(second.hours.hours.tolist(), second.hours.devices.tolist(), strict=True)) == [
        (HOUR - 5, 1),
        (HOUR, 2),
    ]


def test_what_becomes_known_by_patterns_alone_travels_with_its_past() -> None:
    shard = AggregatedTable(TWO_ANONYMITY_RULES)
    shard.commit(make_delta(0, 1, [PatternSpec(1)], signals=[("late", HOUR - 5)]))
    first = shard.get_update()
    for device in (0, 1):
        shard.commit(make_delta(device, 2 - device, [PatternSpec(2, contents=("late",))]))

    second = shard.get_update(first.version.version)

    assert second.version.version > first.version.version
    assert second.hours.hours.tolist() == [HOUR - 5]


def test_a_cluster_of_too_few_devices_leaves_the_shard_as_zeros() -> None:
    shard = AggregatedTable(TWO_ANONYMITY_RULES)
    shard.use_anchors(make_anchors())
    shard.commit(
        make_delta(0, 1, [PatternSpec(1, 0, contents=("a",))]),
        make_delta(1, 1, [PatternSpec(1, 1)]),
    )
    shard.commit(make_delta(2, 1, [PatternSpec(1, 1, contents=("a",))]))
    first = shard.get_update()
    shard.commit(make_delta(2, 2, removed=[1]))

    second = shard.get_update(first.version.version)

    assert first.clusters.cluster_ids.tolist() == [2]
    assert first.clusters.features.devices.tolist() == [2]
    assert second.clusters.cluster_ids.tolist() == [2]
    assert not second.clusters.features.sums.any()
    assert not second.clusters.features.devices.any()


def test_a_genre_that_left_the_catalogue_stays_in_the_shard() -> None:
    shard = AggregatedTable(TWO_ANONYMITY_RULES)
    shard.use_anchors(make_anchors())
    shard.table.vocabulary.add(
        [Term(TermKind.GENRE, 1, "Drama"), Term(TermKind.GENRE, 2, "of the past")]
    )
    for device in range(2):
        shard.commit(make_delta(device, 1, [PatternSpec(1, 0, genres=("Drama", "of the past"))]))
    drama = shard.table.vocabulary.number(TermKind.GENRE, "Drama")
    shard.table.public_genres[drama] = True

    update = shard.get_update()

    assert list(update.clusters.genres.texts) == ["Drama"]


def test_the_terms_of_most_devices_are_selected_first() -> None:
    shard = AggregatedTable()
    shard.commit(make_delta(0, 1, [PatternSpec(1, contents=("a", "b", "c"))]))
    disclosure = Disclosure(shard.table, RULES)
    a, b, c = (shard.table.vocabulary.number(TermKind.CONTENT, text) for text in "abc")

    terms = disclosure.select_terms(
        TermKind.CONTENT,
        rows=np.array([0, 0, 0, -1]),
        numbers=np.array([a, b, c, a]),
        devices=np.array([2, 9, 5, 100]),
        limit=2,
    )

    assert [terms.texts[term] for term in terms.terms] == ["b", "c"]
    assert terms.devices.tolist() == [9, 5]


def test_a_term_becomes_exportable_once() -> None:
    shard = AggregatedTable(TWO_ANONYMITY_RULES)
    shard.commit(*(make_delta(device, 1, signals=[("a", HOUR)]) for device in range(2)))
    disclosure = Disclosure(shard.table, TWO_ANONYMITY_RULES)
    counts = shard.ring.counts()

    assert disclosure.mark_exportable(counts, 3)
    assert not disclosure.mark_exportable(counts, 4)
    assert disclosure.find_exportable_since(counts).tolist() == [3]
    assert disclosure.has_exportable_after(2)
    assert not disclosure.has_exportable_after(3)
