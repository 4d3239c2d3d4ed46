from __future__ import annotations

import pytest

from constellation.core.rows import TermKind
from constellation.core.rules import Rules
from constellation.core.store import Content
from constellation.core.table.catalogue import Catalogue, load_catalogue
from constellation.core.table.shard_table import Table
from constellation.errors import FencedError, NotFoundError, ShardFullError, StoreFailedError
from constellation.storage.memory import MemoryPatternStore

GENRE, CONTENT = TermKind.GENRE, TermKind.CONTENT


def make_content(content_id: str, *genres: str, title: str = "") -> Content:
    return Content(content_id, title, 1, genres, 1999, bytes(384))


class StoredCatalogue:
    """A catalogue over a store in memory."""

    def __init__(self, store: MemoryPatternStore) -> None:
        self.store = store
        self.table = Table(Rules(max_devices=1, max_patterns=1))
        self.catalogue = Catalogue(store, self.table, max_contents=4)
        self.epoch = 0

    async def add(self, *contents: Content) -> tuple[int, int]:
        """Store contents; return how many were added and how many replaced."""
        self.epoch = await self.store.take_epoch()
        plan = await self.catalogue.plan(contents)
        await self.catalogue.write(self.epoch, plan)
        self.catalogue.apply(plan)
        return plan.added_count, plan.replaced_count

    def read_genres(self, content_id: str) -> set[str]:
        """Return the genres that the table has for a content item."""
        vocabulary = self.table.vocabulary
        number = vocabulary.number(CONTENT, content_id)
        numbers = self.table.content_genres[number].tolist()
        return {vocabulary.text(GENRE, genre) for genre in numbers if genre}


@pytest.fixture
def stored() -> StoredCatalogue:
    """A catalogue with nothing in it."""
    return StoredCatalogue(MemoryPatternStore())


async def test_of_two_contents_with_one_id_the_later_is_stored(stored: StoredCatalogue) -> None:
    counts = await stored.add(make_content("a", title="old"), make_content("a", title="new"))

    assert counts == (1, 0)
    assert (await stored.catalogue.get("a")).title == "new"


async def test_a_catalogue_has_a_limit_that_replacements_keep(stored: StoredCatalogue) -> None:
    await stored.add(*(make_content(each) for each in "abc"))

    with pytest.raises(ShardFullError, match="has 3 content items, and MAX_CONTENTS is 4: 2 more"):
        await stored.add(make_content("d"), make_content("e"), make_content("a"))
    assert await stored.add(make_content("a"), make_content("d")) == (1, 1)


async def test_a_replaced_content_item_loses_its_genres(stored: StoredCatalogue) -> None:
    await stored.add(make_content("a", "Drama", "Noir"))

    counts = await stored.add(make_content("a", "War"), make_content("b"))

    assert counts == (1, 1)
    assert stored.catalogue.count == 2
    assert stored.read_genres("a") == {"War"}


async def test_the_genres_of_the_catalogue_are_public(stored: StoredCatalogue) -> None:
    await stored.add(make_content("a", "Drama"))

    number = stored.table.vocabulary.number(GENRE, "Drama")
    assert stored.table.public_genres[number]
    assert not stored.table.public_genres[number + 1]


async def test_a_plan_is_stored_once_it_is_written(stored: StoredCatalogue) -> None:
    await stored.add(make_content("a"))
    plan = await stored.catalogue.plan([make_content("b")])
    assert not await stored.catalogue.is_stored(plan)

    await stored.catalogue.write(stored.epoch, plan)

    assert await stored.catalogue.is_stored(plan)


async def test_a_catalogue_that_neither_write_left_is_another_writers(
    stored: StoredCatalogue,
) -> None:
    await stored.add(make_content("a"))
    plan = await stored.catalogue.plan([make_content("b")])
    await stored.store.put_contents(stored.epoch, (), (), plan.digest_before + 1)

    with pytest.raises(FencedError, match="changed or restored meanwhile"):
        await stored.catalogue.is_stored(plan)
    with pytest.raises(StoreFailedError, match="the catalogue's digest must be"):
        await stored.catalogue.write(stored.epoch, plan)


async def test_a_start_learns_the_genres_of_everything(stored: StoredCatalogue) -> None:
    await stored.add(make_content("a", "Drama"), make_content("b", "War"))
    restarted = StoredCatalogue(stored.store)
    restarted.table.add_terms(await stored.store.read_terms())

    assert await load_catalogue(stored.store, restarted.table) == []

    assert restarted.catalogue.count == 2
    assert restarted.read_genres("b") == {"War"}


async def test_an_unknown_content_item_is_not_found(stored: StoredCatalogue) -> None:
    with pytest.raises(NotFoundError, match="no content 'none'"):
        await stored.catalogue.get("none")
