"""Look up the titles of content items in a shard's catalogue."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from constellation.v1 import shard_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from constellation.cli.remote import Remote

_MAX_CONCURRENT_CALLS: Final = 32


async def look_up_contents(
    remote: Remote, content_ids: Iterable[str]
) -> Mapping[str, shard_pb2.Content]:
    """Return the content items by id; ids that the catalogue does not have are left out."""
    semaphore = asyncio.Semaphore(_MAX_CONCURRENT_CALLS)

    async def get(content_id: str) -> shard_pb2.GetContentResponse | None:
        async with semaphore:
            return await remote.find(
                remote.shard.GetContent, shard_pb2.GetContentRequest(content_id=content_id)
            )

    responses = await asyncio.gather(*(get(each) for each in dict.fromkeys(content_ids)))
    return {each.content.content_id: each.content for each in responses if each is not None}


def format_title(content_id: str, contents: Mapping[str, shard_pb2.Content]) -> str:
    """Return the title with its year; the content id when there is no title."""
    content = contents.get(content_id)
    if content is None or not content.title:
        return content_id
    return f"{content.title} ({content.year})" if content.year else content.title
