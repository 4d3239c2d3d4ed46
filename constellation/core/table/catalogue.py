"""Catalogue: content with embeddings; the table learns each content's genres from it."""

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


@dataclass(frozen=True, slots=True)
class ContentPlan:
    """Contents to be stored, the later of two with one id, and the words they bring."""

    contents: Sequence[Content]
    terms: Sequence[Term]
    replaced_count: int
    """How many of the contents are stored already, as they were."""

    @property
    def added_count(self) -> int:
        return len(self.contents) - self.replaced_count


class Catalogue:
    """The contents themselves stay in the store; only the table keeps their genres in memory."""

    def __init__(self, store: PatternStore, table: Table) -> None:
        self.count = 0
        self._store = store
        self._table = table

    async def load(self) -> None:
        """Learn the genres of everything stored."""
        after = ""
        while page := await self._store.list_contents(after, _PAGE_SIZE):
            for content in page:
                self._set_genres(content)
            after = page[-1].content_id
        self.count = await self._store.count_contents()

    async def plan(self, contents: Sequence[Content]) -> ContentPlan:
        """Work out what storing contents changes. Nothing may number words until it is done."""
        distinct = {content.content_id: content for content in contents}
        replaced = await self._store.find_stored_ids(list(distinct))
        terms = PendingTerms(self._table.vocabulary)
        terms.assign_numbers(TermKind.CONTENT, list(distinct))
        for content in distinct.values():
            terms.assign_numbers(TermKind.GENRE, content.genres)
        return ContentPlan(list(distinct.values()), terms.to_terms(), len(replaced))

    async def write(self, epoch: int, planned: ContentPlan) -> None:
        """Make a plan durable; `apply` is next."""
        await self._store.put_contents(epoch, planned.contents, planned.terms)

    async def is_stored(self, planned: ContentPlan) -> bool:
        """Say whether the store holds what a plan wanted it to."""
        return all([await self._store.get_content(c.content_id) == c for c in planned.contents])

    def apply(self, planned: ContentPlan) -> None:
        """Learn what has become durable."""
        self._table.vocabulary.add(planned.terms)
        for content in planned.contents:
            self._set_genres(content)
        self.count += planned.added_count

    async def get(self, content_id: str) -> Content:
        """Return one content; raise NotFoundError when there is none."""
        content = await self._store.get_content(content_id)
        if content is None:
            raise NotFoundError(f"the catalogue has no content {content_id!r}")
        return content

    async def list_contents(self, after: str, limit: int) -> Sequence[Content]:
        """Return up to `limit` contents whose content_id sorts after `after`."""
        return await self._store.list_contents(after, limit)

    def _set_genres(self, content: Content) -> None:
        vocabulary = self._table.vocabulary
        number = vocabulary.number(TermKind.CONTENT, content.content_id)
        genres = [vocabulary.number(TermKind.GENRE, genre) for genre in content.genres]
        if number:
            self._table.content_genres[number] = 0
            self._table.content_genres[number, : len(genres)] = genres
        self._table.public_genres[[genre for genre in genres if genre]] = True
