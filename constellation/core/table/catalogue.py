"""Catalogue: content with embeddings; the table learns each content's genres from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from constellation.core.rows import WordKind
from constellation.core.table.vocabulary import NewWords
from constellation.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from constellation.core.store import Content, PatternStore, Word
    from constellation.core.table.shard_table import Table

_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class ContentPlan:
    """Contents to be stored, the later of two with one id, and the words they bring."""

    contents: Sequence[Content]
    words: Sequence[Word]
    replaced: int
    """How many of the contents are stored already, as they were."""

    @property
    def added(self) -> int:
        return len(self.contents) - self.replaced


class Catalogue:
    """The contents themselves stay in the store; only the table keeps their genres in memory."""

    def __init__(self, store: PatternStore, table: Table) -> None:
        self.count = 0
        self._store = store
        self._table = table

    async def load(self) -> None:
        """Learn the genres of everything stored."""
        after = ""
        while page := await self._store.list_contents(after, _PAGE):
            for content in page:
                self._learn(content)
            after = page[-1].content_id
        self.count = await self._store.count_contents()

    async def plan(self, contents: Sequence[Content]) -> ContentPlan:
        """Work out what storing contents changes. Nothing may number words until it is done."""
        distinct = {content.content_id: content for content in contents}
        replaced = await self._store.stored_of(list(distinct))
        words = NewWords(self._table.words)
        words.numbers(WordKind.CONTENT, list(distinct))
        for content in distinct.values():
            words.numbers(WordKind.GENRE, content.genres)
        return ContentPlan(list(distinct.values()), words.words(), len(replaced))

    async def write(self, epoch: int, planned: ContentPlan) -> None:
        """Make a plan durable; `apply` is next."""
        await self._store.put_contents(epoch, planned.contents, planned.words)

    async def is_stored(self, planned: ContentPlan) -> bool:
        """Say whether the store holds what a plan wanted it to."""
        return all([await self._store.get_content(c.content_id) == c for c in planned.contents])

    def apply(self, planned: ContentPlan) -> None:
        """Learn what has become durable."""
        self._table.words.add(planned.words)
        for content in planned.contents:
            self._learn(content)
        self.count += planned.added

    async def get(self, content_id: str) -> Content:
        """Return one content; raise NotFoundError when there is none."""
        content = await self._store.get_content(content_id)
        if content is None:
            raise NotFoundError(f"the catalogue has no content {content_id!r}")
        return content

    async def page(self, after: str, limit: int) -> Sequence[Content]:
        """Return up to `limit` contents whose content_id sorts after `after`."""
        return await self._store.list_contents(after, limit)

    def _learn(self, content: Content) -> None:
        words = self._table.words
        number = words.number(WordKind.CONTENT, content.content_id)
        genres = [words.number(WordKind.GENRE, genre) for genre in content.genres]
        if number:
            self._table.content_genres[number] = 0
            self._table.content_genres[number, : len(genres)] = genres
        self._table.public_genres[[genre for genre in genres if genre]] = True
