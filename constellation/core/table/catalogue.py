"""Catalogue: content items and their embeddings; the table learns their genres from it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from constellation.core.rows import TermKind
from constellation.core.table.vocabulary import PendingTerms
from constellation.errors import FencedError, NotFoundError, ShardFullError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from constellation.core.store import Content, PatternStore, StoreReader, Term
    from constellation.core.table.catalogue_buckets import CatalogueEntries
    from constellation.core.table.shard_table import Table

_PAGE_SIZE: Final = 1000
"""Content items read at once at start."""


@dataclass(frozen=True, slots=True)
class ContentPlan:
    """The content items to store and the terms they add; of two with one id, the later counts."""

    contents: Sequence[Content]
    terms: Sequence[Term]
    replaced_count: int
    """How many of the content items replace a stored one."""
    digest_before: int
    """The digest of the whole catalogue and of the terms before that."""
    digest: int
    """The digest of the whole catalogue and of the terms after that."""

    @property
    def added_count(self) -> int:
        return len(self.contents) - self.replaced_count


class Catalogue:
    """The content items of one shard. Memory holds only their genres and hashes."""

    def __init__(self, store: PatternStore, table: Table, max_contents: int) -> None:
        self._store = store
        self._table = table
        self._max_contents = max_contents

    @property
    def count(self) -> int:
        """Return how many content items are stored."""
        return self._table.content_count

    async def ensure_digest(self, epoch: int) -> None:
        """Store the digest of a catalogue that an earlier version wrote, which stored none."""
        if await self._store.read_catalogue_digest() is None:
            await self._store.put_contents(epoch, (), (), self._table.catalogue_digest.total)

    async def plan(self, contents: Sequence[Content]) -> ContentPlan:
        """Return what storing content items changes; nobody else may number terms meanwhile.

        Raises ShardFullError when the catalogue would have too many.
        """
        distinct = {content.content_id: content for content in contents}
        replaced = await self._store.find_stored_ids(list(distinct))
        if self.count + len(distinct) - len(replaced) > self._max_contents:
            raise ShardFullError(
                f"the catalogue has {self.count} content items, and MAX_CONTENTS is "
                f"{self._max_contents}: {len(distinct) - len(replaced)} more do not fit"
            )
        terms = PendingTerms(self._table.vocabulary)
        terms.assign_numbers(TermKind.CONTENT, list(distinct))
        for content in distinct.values():
            terms.assign_numbers(TermKind.GENRE, content.genres)
        digests = self._table.catalogue_digest
        return ContentPlan(
            list(distinct.values()),
            terms.to_terms(),
            len(replaced),
            digests.total,
            digests.compute_total_with(distinct.values(), terms.to_terms()),
        )

    async def write(self, epoch: int, planned: ContentPlan) -> None:
        """Make a plan durable; call `apply` next."""
        await self._store.put_contents(
            epoch, planned.contents, planned.terms, planned.digest, planned.digest_before
        )

    async def is_stored(self, planned: ContentPlan) -> bool:
        """Return whether the store holds everything that a plan was to write.

        The digest tells, because it is written with the content items, all or nothing. Raises
        FencedError when it is neither that of before nor that of after.
        """
        stored = await self._store.read_catalogue_digest()
        if stored not in (planned.digest_before, planned.digest):
            raise FencedError(
                f"the catalogue in the store has the digest {stored}, which this process did not "
                "write: the database was changed or restored meanwhile"
            )
        return stored == planned.digest

    def apply(self, planned: ContentPlan) -> None:
        """Bring the table to the state after a plan that is durable."""
        self._table.add_terms(planned.terms)
        _add_to_table(self._table, planned.contents)
        self._table.content_count += planned.added_count

    async def get(self, content_id: str) -> Content:
        """Return one content item; raise NotFoundError when there is none of this id."""
        content = await self._store.get_content(content_id)
        if content is None:
            raise NotFoundError(f"the catalogue has no content {content_id!r}")
        return content

    @property
    def digest(self) -> int:
        """Return the digest that devices compare: it changes with every content item."""
        return self._table.catalogue_digest.content_total

    def list_entries(self) -> CatalogueEntries:
        """Return the hashes of all content items as of now, and what decides their buckets."""
        return self._table.catalogue_digest.list_entries()

    async def read_entries(
        self, entries: CatalogueEntries, positions: Iterable[int]
    ) -> Sequence[Content]:
        """Return the content items of some entries, as they are stored now, in any order."""
        content_ids = self._table.catalogue_digest.to_content_ids(entries, positions)
        return await self._store.get_contents(content_ids)

    async def list_contents(self, after: str, limit: int) -> Sequence[Content]:
        """Return up to `limit` content items whose id sorts after `after`, by UTF-8 bytes."""
        return await self._store.list_contents(after, limit)


async def load_catalogue(store: StoreReader, table: Table) -> list[str]:
    """Read the genres and the hashes of all stored content items into the table.

    Returns how rows and digest differ, nothing when all is well. The terms must be in the table.
    """
    after = ""
    while page := await store.list_contents(after, _PAGE_SIZE):
        await asyncio.to_thread(_add_to_table, table, page)
        table.content_count += len(page)
        after = page[-1].content_id
    stored, found = await store.read_catalogue_digest(), table.catalogue_digest.total
    if stored in (None, found):
        return []
    return [
        f"catalogue digest: the last write says {stored}, the content items and terms say {found}"
    ]


def _add_to_table(table: Table, contents: Sequence[Content]) -> None:
    table.catalogue_digest.add(contents)
    for content in contents:
        _set_genres(table, content)


def _set_genres(table: Table, content: Content) -> None:
    number = table.vocabulary.number(TermKind.CONTENT, content.content_id)
    genres = [table.vocabulary.number(TermKind.GENRE, genre) for genre in content.genres]
    if number:
        table.content_genres[number] = 0
        table.content_genres[number, : len(genres)] = genres
    table.public_genres[[genre for genre in genres if genre]] = True
