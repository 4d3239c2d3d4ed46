"""Fetch a list page by page, up to the limit that `--limit` sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from constellation.cli.parsing import make_number_parser

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Awaitable, Callable, Sequence

Item = TypeVar("Item")

_MAX_LIMIT: Final = 1e9


@dataclass(frozen=True, slots=True)
class Listing(Generic[Item]):
    """The items that were fetched, and whether the server has more."""

    items: Sequence[Item]
    has_more: bool

    @property
    def more_hint(self) -> str:
        """The end of a summary line: how to list the rest, or nothing."""
        return "; more exist: list all with --limit 0" if self.has_more else ""


def add_limit_flag(
    parser: ArgumentParser, default: int, items: str, *, maximum: float = _MAX_LIMIT
) -> None:
    """Add `--limit N`; `items` says what is limited. 0 means no limit."""
    parser.add_argument(
        "--limit",
        type=make_number_parser(0, maximum, is_integer=True),
        default=default,
        metavar="N",
        help=f"print at most N {items}; 0 means all (default: %(default)s)",
    )


async def fetch_pages(
    fetch_page: Callable[[int, str], Awaitable[tuple[Sequence[Item], str]]],
    *,
    limit: int,
    page_size: int,
) -> Listing[Item]:
    """Fetch up to `limit` items, at most `page_size` at a time; a limit of 0 fetches all.

    `fetch_page(size, token)` returns the items of one page and the token of the next page, which
    is empty after the last one.
    """
    items: list[Item] = []
    token = ""
    while not limit or len(items) < limit:
        size = min(page_size, limit - len(items)) if limit else page_size
        page, token = await fetch_page(size, token)
        items += page
        if not token:
            break
    return Listing(items, has_more=bool(token))
