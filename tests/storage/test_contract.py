from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from constellation.core.rows import BLOCK_ROWS, TermKind
from constellation.core.store import (
    CommitWrites,
    GroupRecords,
    HourlyCounts,
    PatternStore,
    Term,
    Totals,
)
from constellation.errors import FencedError, StoreFailedError
from constellation.federated.published import StoredGlobal
from tests.storage.samples import (
    make_commit,
    make_content,
    make_device_rows,
    make_hourly_counts,
    make_liked_rows,
    make_pattern_rows,
    read_devices,
    read_groups,
    read_liked,
    read_patterns,
    to_slots,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


GENRE, CONTENT = TermKind.GENRE, TermKind.CONTENT


async def read_counts(store: PatternStore) -> set[tuple[int, int, int, int]]:
    found = await store.read_hourly_counts()
    assert [column.dtype for column in to_columns(found)] == [np.uint32, np.uint8, *[np.uint32] * 2]
    return set(zip(*(column.tolist() for column in to_columns(found)), strict=True))


def to_columns(counts: HourlyCounts) -> tuple[NDArray[Any], ...]:
    return counts.hours, counts.kinds, counts.numbers, counts.devices


async def test_an_empty_store_holds_nothing(store: PatternStore) -> None:
    assert await store.read_totals() == Totals()
    assert await read_patterns(store) == {}
    assert await read_devices(store) == {}
    assert await read_liked(store) == {}
    assert await read_groups(store) == {}
    assert list(await store.read_terms()) == []
    assert await read_counts(store) == set()
    assert await store.count_contents() == 0
    assert await store.get_global() is None
    await store.probe()


async def test_the_secret_is_32_bytes_and_stays(store: PatternStore) -> None:
    secret = await store.read_secret()

    assert len(secret) == 32
    assert await store.read_secret() == secret


async def test_what_is_committed_is_scanned_byte_for_byte(store: PatternStore) -> None:
    epoch = await store.take_epoch()
    patterns, devices = make_pattern_rows(3), make_device_rows(2)

    await store.commit(
        epoch,
        CommitWrites(
            Totals(1),
            slots=to_slots(7, 0, 2**40 if store.kind == "sqlite" else 40),
            rows=patterns,
            device_slots=to_slots(5, 1),
            device_rows=devices,
        ),
    )

    found = await read_patterns(store)
    assert list(found) == sorted(found)
    assert list(found.values()) == [patterns[at].tobytes() for at in (1, 0, 2)]
    assert await read_devices(store) == {1: devices[1].tobytes(), 5: devices[0].tobytes()}


async def test_rows_of_a_strided_array_are_written_as_they_read(store: PatternStore) -> None:
    epoch = await store.take_epoch()
    rows = make_pattern_rows(6)[::2]

    await store.commit(epoch, CommitWrites(Totals(1), slots=to_slots(0, 1, 2), rows=rows))

    assert list((await read_patterns(store)).values()) == [row.tobytes() for row in rows]


async def test_an_lsn_that_is_not_the_next_changes_nothing(store: PatternStore) -> None:
    epoch = await store.take_epoch()
    await store.commit(epoch, make_commit(1, to_slots(1)))

    for lsn in (1, 3):
        with pytest.raises(StoreFailedError, match=f"lsn must be 2, got {lsn}"):
            await store.commit(epoch, make_commit(lsn, to_slots(2)))

    assert list(await read_patterns(store)) == [1]
    assert await store.read_totals() == Totals(1)


async def test_rows_are_replaced_and_freed(store: PatternStore) -> None:
    epoch = await store.take_epoch()
    first = CommitWrites(
        Totals(1),
        slots=to_slots(0, 1, 2),
        rows=make_pattern_rows(3, seed=1),
        device_slots=to_slots(0, 1),
        device_rows=make_device_rows(2, seed=1),
    )
    await store.commit(epoch, first)
    pattern, device = make_pattern_rows(1, seed=2), make_device_rows(1, seed=2)

    await store.commit(
        epoch,
        CommitWrites(
            Totals(2),
            slots=to_slots(1),
            rows=pattern,
            freed_slots=to_slots(0),
            device_slots=to_slots(1),
            device_rows=device,
            freed_devices=to_slots(0),
        ),
    )

    assert await read_patterns(store) == {1: pattern[0].tobytes(), 2: first.rows[2].tobytes()}
    assert await read_devices(store) == {1: device[0].tobytes()}


async def test_liked_content_is_stored_replaced_and_deleted(store: PatternStore) -> None:
    epoch = await store.take_epoch()
    first, second = make_liked_rows(3), make_liked_rows(2, seed=2)
    digests = (2**64 - 1, 2**63)
    await store.commit(
        epoch,
        CommitWrites(
            Totals(1, liked_digest=digests[0]), liked_devices=to_slots(9, 2, 5), liked_rows=first
        ),
    )

    assert await read_liked(store) == {
        2: first[1].tobytes(),
        5: first[2].tobytes(),
        9: first[0].tobytes(),
    }
    assert (await store.read_totals()).liked_digest == digests[0]
    await store.commit(
        epoch,
        CommitWrites(
            Totals(2, liked_digest=digests[1]),
            liked_devices=to_slots(5, 7),
            liked_rows=second,
            freed_liked=to_slots(9, 2),
        ),
    )

    assert await read_liked(store) == {5: second[0].tobytes(), 7: second[1].tobytes()}
    assert await store.read_totals() == Totals(2, liked_digest=digests[1])


async def test_a_stale_epoch_is_fenced_and_changes_nothing(store: PatternStore) -> None:
    stale = await store.take_epoch()
    await store.commit(stale, make_commit(1, to_slots(1)))
    epoch = await store.take_epoch()

    with pytest.raises(FencedError, match=f"epoch {stale} was taken over by epoch {epoch}"):
        await store.commit(stale, make_commit(2, to_slots(2)))
    with pytest.raises(FencedError):
        await store.put_contents(stale, [make_content("a")], [], 0)
    with pytest.raises(FencedError):
        await store.put_global(stale, StoredGlobal(1, 1, b"late"))

    assert epoch == stale + 1
    assert list(await read_patterns(store)) == [1]
    assert await store.count_contents() == 0
    assert await store.get_global() is None
    await store.commit(epoch, make_commit(2, to_slots(2)))


@pytest.mark.parametrize("digest", [0, 1, 2**63 - 1, 2**63, 2**64 - 1])
async def test_totals_come_back_as_committed(store: PatternStore, digest: int) -> None:
    epoch = await store.take_epoch()
    totals = Totals(1, 10, 3, digest, 2**64 - 1 - digest)

    await store.commit(epoch, CommitWrites(totals))

    assert await store.read_totals() == totals


async def test_terms_come_back_in_the_order_of_their_numbers(store: PatternStore) -> None:
    epoch = await store.take_epoch()
    drama, noir = Term(TermKind.GENRE, 1, "drama"), Term(TermKind.GENRE, 2, "noir — été")
    film = Term(TermKind.CONTENT, 1, "film:1")

    await store.commit(epoch, CommitWrites(Totals(1), terms=[film, noir]))
    await store.put_contents(epoch, [], [drama], 0)

    assert list(await store.read_terms()) == [drama, noir, film]


async def test_counts_are_replaced_and_old_hours_pruned(store: PatternStore) -> None:
    epoch = await store.take_epoch()
    first = make_hourly_counts(
        (10, CONTENT, 1, 5), (11, CONTENT, 1, 6), (11, CONTENT, 2, 2**32 - 1)
    )
    await store.commit(epoch, CommitWrites(Totals(1), counts=first))

    second = make_hourly_counts((11, CONTENT, 1, 7), (12, CONTENT, 1, 1), (9, CONTENT, 1, 1))
    await store.commit(epoch, CommitWrites(Totals(2), counts=second, oldest_hour=11))

    assert await read_counts(store) == {
        (11, CONTENT, 1, 7),
        (11, CONTENT, 2, 2**32 - 1),
        (12, CONTENT, 1, 1),
    }


async def test_counts_of_a_genre_and_a_content_of_one_number_differ(store: PatternStore) -> None:
    epoch = await store.take_epoch()
    first = make_hourly_counts((10, GENRE, 1, 4), (11, GENRE, 1, 5), (11, CONTENT, 1, 6))
    await store.commit(epoch, CommitWrites(Totals(1), counts=first))

    second = make_hourly_counts((11, GENRE, 1, 7), (11, GENRE, 2**16 - 1, 1))
    await store.commit(epoch, CommitWrites(Totals(2), counts=second, oldest_hour=11))

    assert await read_counts(store) == {
        (11, GENRE, 1, 7),
        (11, CONTENT, 1, 6),
        (11, GENRE, 2**16 - 1, 1),
    }


async def test_the_last_global_replaces_the_one_before(store: PatternStore) -> None:
    epoch = await store.take_epoch()
    first = StoredGlobal(1_700_000_000_000, 2**63 - 1, bytes(range(256)) * 2**16)  # 16 MiB
    await store.put_global(epoch, first)
    assert await store.get_global() == first

    second = StoredGlobal(2**63 - 1, 0, b"")  # any may follow: a store does not judge
    await store.put_global(epoch, second)

    assert await store.get_global() == second
    assert await store.read_totals() == Totals()
    await store.commit(epoch, make_commit(1, to_slots(1)))
    assert await store.get_global() == second


async def test_a_stale_epoch_does_not_replace_the_global(store: PatternStore) -> None:
    stale = await store.take_epoch()
    kept = StoredGlobal(1, 1, b"kept")
    await store.put_global(stale, kept)
    epoch = await store.take_epoch()

    with pytest.raises(FencedError, match=f"epoch {stale} was taken over by epoch {epoch}"):
        await store.put_global(stale, StoredGlobal(1, 2, b"late"))

    assert await store.get_global() == kept


async def test_records_of_groups_are_kept_replaced_and_deleted(store: PatternStore) -> None:
    epoch = await store.take_epoch()
    kept = GroupRecords.from_list([6, 1, 9000], [b"one", b"\x00\xff" * 400, b"three"])
    await store.commit(epoch, CommitWrites(Totals(1, group_digest=2**64 - 1), group_records=kept))
    assert await read_groups(store) == {1: b"\x00\xff" * 400, 6: b"one", 9000: b"three"}

    later = GroupRecords.from_list([6], [b"replaced"])
    await store.commit(
        epoch,
        CommitWrites(
            Totals(2, group_digest=7), group_records=later, freed_group_records=to_slots(9000)
        ),
    )

    assert await read_groups(store) == {1: b"\x00\xff" * 400, 6: b"replaced"}
    assert await store.read_totals() == Totals(2, group_digest=7)


async def test_contents_are_stored_replaced_and_counted(store: PatternStore) -> None:
    epoch = await store.take_epoch()
    old, new = make_content("film:1"), make_content("film:1")
    await store.put_contents(epoch, [old, make_content("фильм:2")], [], 1)

    await store.put_contents(epoch, [new], [], 2)

    assert await store.get_content("film:1") == new
    assert await store.get_content("фильм:2") == make_content("фильм:2")
    assert await store.get_content("FILM:1") is None
    assert await store.find_stored_ids(["FILM:1", "film:1", "фильм:2"]) == {"film:1", "фильм:2"}
    assert await store.find_stored_ids([]) == set()
    named = await store.get_contents(["FILM:1", "film:1", "фильм:2"])
    assert sorted(named, key=lambda each: each.content_id) == [new, make_content("фильм:2")]
    assert await store.get_contents([]) == []
    assert await store.count_contents() == 2


async def test_the_digest_of_the_catalogue_is_stored_with_its_contents(
    store: PatternStore,
) -> None:
    epoch = await store.take_epoch()
    assert await store.read_catalogue_digest() == 0
    for digest in (7, 2**64 - 1, 2**63, 0, 3):
        await store.put_contents(epoch, [make_content("film:1")], [], digest)
        assert await store.read_catalogue_digest() == digest

    await store.commit(epoch, CommitWrites(Totals(1)))
    later = await store.take_epoch()
    with pytest.raises(FencedError):
        await store.put_contents(epoch, [], [], 8)

    assert later > epoch
    assert await store.read_catalogue_digest() == 3


async def test_a_write_onto_another_catalogue_changes_nothing(store: PatternStore) -> None:
    """A failover may have lost the catalogue's last write, whose terms the next one builds on."""
    epoch = await store.take_epoch()
    await store.put_contents(epoch, [make_content("film:1")], [], 2**64 - 1, 0)

    with pytest.raises(StoreFailedError, match="the catalogue's digest must be 7, got 18446744"):
        await store.put_contents(epoch, [make_content("film:2")], [], 8, 7)
    with pytest.raises(StoreFailedError, match="the catalogue's digest must be 7, got 18446744"):
        await store.commit(epoch, CommitWrites(Totals(1), catalogue_digest=7))

    assert await store.count_contents() == 1
    assert await store.read_totals() == Totals()
    await store.commit(epoch, CommitWrites(Totals(1), catalogue_digest=2**64 - 1))


async def test_contents_are_listed_page_by_page_in_the_order_of_utf8(store: PatternStore) -> None:
    epoch = await store.take_epoch()
    content_ids = ["a", "Z", "é", "z", "\uffee", "😀", "a\u0301", "aa"]
    await store.put_contents(epoch, [make_content(content_id) for content_id in content_ids], [], 0)

    listed: list[str] = []
    while page := await store.list_contents(listed[-1] if listed else "", 3):
        listed += [found.content_id for found in page]

    assert listed == sorted(content_ids, key=str.encode)


async def test_many_rows_are_scanned_in_blocks(store: PatternStore) -> None:
    epoch = await store.take_epoch()
    count = 20_000 if store.kind == "postgres" else 70_000  # several blocks of either
    rows = make_pattern_rows(count)
    await store.commit(epoch, CommitWrites(Totals(1), slots=np.arange(count), rows=rows))

    blocks = [block async for block in store.scan_patterns()]

    assert max(len(slots) for slots, _ in blocks) <= BLOCK_ROWS
    assert np.array_equal(np.concatenate([slots for slots, _ in blocks]), np.arange(count))
    assert b"".join(block.tobytes() for _, block in blocks) == rows.tobytes()
