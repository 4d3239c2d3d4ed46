from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.core.rows import TermKind
from constellation.core.rules import Rules
from constellation.core.store import Content, Term
from constellation.core.table import vocabulary
from constellation.core.table.catalogue import Catalogue, load_catalogue
from constellation.core.table.catalogue_digest import digest_content, digest_term
from constellation.core.table.shard_table import Table
from constellation.storage.memory import MemoryPatternStore

if TYPE_CHECKING:
    from collections.abc import Sequence

RULES = Rules(max_devices=1, max_patterns=1)
CONTENT = Content("film:1", "Solaris", 1, ("Drama", "Noir"), 1972, bytes(range(128)) * 3)

contents = st.builds(
    Content,
    st.sampled_from("abc"),
    st.sampled_from(["", "Ran"]),
    st.just(1),
    st.lists(st.sampled_from(["Drama", "War"]), unique=True).map(tuple),
    st.integers(1999, 2000),
    st.sampled_from([bytes(384), b"\1" * 384]),
)


async def add(store: MemoryPatternStore, table: Table, batch: Sequence[Content]) -> None:
    catalogue, epoch = Catalogue(store, table, max_contents=10), await store.take_epoch()
    plan = await catalogue.plan(batch)
    await catalogue.write(epoch, plan)
    catalogue.apply(plan)


async def restart(store: MemoryPatternStore) -> tuple[Table, list[str]]:
    """Return a table with the catalogue of a store, and what is wrong with it."""
    table = Table(RULES)
    table.add_terms(await store.read_terms())
    return table, await load_catalogue(store, table)


@pytest.mark.parametrize("limit", [2_000_000, 1])
@given(batches=st.lists(st.lists(contents, max_size=4), max_size=5))
async def test_the_stored_digest_is_that_of_the_rows_after_any_writes(
    limit: int, batches: list[list[Content]]
) -> None:
    store, table = MemoryPatternStore(), Table(RULES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(vocabulary.TERM_LIMITS, TermKind.CONTENT, limit)
        for batch in batches:
            await add(store, table, batch)

        stored = await store.list_contents("", 100)
        terms = sum(map(digest_term, await store.read_terms()))
        digest = (sum(map(digest_content, stored)) + terms) % 2**64
        assert await store.read_catalogue_digest() == digest
        restarted, problems = await restart(store)
        assert problems == []
        assert restarted.content_count == table.content_count == len(stored)
        await add(store, restarted, [CONTENT])  # it continues where the other one ended
        assert (await restart(store))[1] == []


@pytest.mark.parametrize(
    "changed",
    [
        {"content_id": "film:2"},
        {"title": "Solarit"},
        {"content_type": 2},
        {"genres": ("Drama",)},
        {"genres": ("Noir", "Drama")},
        {"genres": ("DramaNoir",)},
        {"year": 1973},
        {"codes": bytes(range(127)) + b"\x7e" + bytes(range(128)) * 2},
    ],
)
async def test_every_value_of_a_content_item_counts(changed: dict[str, Any]) -> None:
    assert digest_content(replace(CONTENT, **changed)) != digest_content(CONTENT)


@pytest.mark.parametrize("changed", [{"kind": TermKind.GENRE}, {"number": 2}, {"text": "b"}])
def test_every_value_of_a_term_counts(changed: dict[str, Any]) -> None:
    term = Term(TermKind.CONTENT, 1, "a")

    assert digest_term(replace(term, **changed)) != digest_term(term)


async def test_a_damaged_content_item_that_is_added_again_is_sound() -> None:
    store, table = MemoryPatternStore(), Table(RULES)
    await add(store, table, [CONTENT])
    digest = await store.read_catalogue_digest()
    assert digest is not None
    await store.put_contents(1, [replace(CONTENT, title="Solarit")], [], digest)
    terms = sum(map(digest_term, await store.read_terms()))
    found = (digest_content(replace(CONTENT, title="Solarit")) + terms) % 2**64
    assert (await restart(store))[1] == [
        f"catalogue digest: the last write says {digest}, the content items and terms say {found}"
    ]

    await add(store, table, [CONTENT])

    assert (await restart(store))[1] == []
