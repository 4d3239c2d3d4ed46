"""Catalogue: content items and their embeddings; the table learns their genres from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from constellation.core.rows import TermKind
from constellation.core.table.vocabulary import PendingTerms
from constellation.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from constellation.core.store import Content, PatternStore, Term
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

    @property
    def added_count(self) -> int:
        return len(self.contents) - self.replaced_count


class Catalogue:
    """The content items of one shard. They stay in the store; memory holds only their genres."""

    def __init__(self, store: PatternStore, table: Table) -> None:
        self.count = 0
        """Content items stored."""
        self._store = store
        self._table = table

    async def load(self) -> None:
        """Read the genres of all stored content items into the table."""
        after = ""
        while page := await self._store.list_contents(after, _PAGE_SIZE):
            for content in page:
                self._set_genres(content)
            after = page[-1].content_id
        self.count = await self._store.count_contents()

    async def plan(self, contents: Sequence[Content]) -> ContentPlan:
        """Return what storing content items changes; nobody else may number terms meanwhile."""
        distinct = {content.content_id: content for content in contents}
        replaced = await self._store.find_stored_ids(list(distinct))
        terms = PendingTerms(self._table.vocabulary)
        terms.assign_numbers(TermKind.CONTENT, list(distinct))
        for content in distinct.values():
            terms.assign_numbers(TermKind.GENRE, content.genres)
        return ContentPlan(list(distinct.values()), terms.to_terms(), len(replaced))

    async def write(self, epoch: int, planned: ContentPlan) -> None:
        """Make a plan durable; call `apply` next."""
        await self._store.put_contents(epoch, planned.contents, planned.terms)

    async def is_stored(self, planned: ContentPlan) -> bool:
        """Return whether the store holds everything that a plan was to write."""
        return all([await self._store.get_content(c.content_id) == c for c in planned.contents])

    def apply(self, planned: ContentPlan) -> None:
        """Bring the table to the state after a plan that is durable."""
        self._table.vocabulary.add(planned.terms)
        for content in planned.contents:
            self._set_genres(content)
        self.count += planned.added_count

    async def get(self, content_id: str) -> Content:
        """Return one content item; raise NotFoundError when there is none of this id."""
        content = await self._store.get_content(content_id)
        if content is None:
            raise NotFoundError(f"the catalogue has no content {content_id!r}")
        return content

    async def list_contents(self, after: str, limit: int) -> Sequence[Content]:
        """Return up to `limit` content items whose id sorts after `after`, by UTF-8 bytes."""
        return await self._store.list_contents(after, limit)

    def _set_genres(self, content: Content) -> None:
        vocabulary = self._table.vocabulary
        number = vocabulary.number(TermKind.CONTENT, content.content_id)
        genres = [vocabulary.number(TermKind.GENRE, genre) for genre in content.genres]
        if number:
            self._table.content_genres[number] = 0
            self._table.content_genres[number, : len(genres)] = genres
        self._table.public_genres[[genre for genre in genres if genre]] = True
