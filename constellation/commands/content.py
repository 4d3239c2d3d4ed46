"""`constellation content`: list and print the content items of a shard's catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.markup import escape

from constellation.cli.columns import format_content_type
from constellation.cli.connection_flags import add_connection_flags
from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import SUCCESS
from constellation.cli.pages import add_limit_flag, fetch_pages
from constellation.cli.parsing import parse_text
from constellation.cli.printing import format_count, make_console, pluralise, print_json, to_json
from constellation.cli.remote import open_remote
from constellation.cli.tables import PrintedColumn, PrintedTable, number_column, text_column
from constellation.commands.content_add import add_content_add
from constellation.commands.content_embed import add_content_embed
from constellation.v1 import shard_pb2

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from constellation.cli.pages import Listing
    from constellation.cli.parsing import Commands
    from constellation.cli.remote import Remote

_DEFAULT_LIMIT: Final = 50
_PAGE_SIZE: Final = 250
_EMPTY_MESSAGE: Final = "the catalogue is empty: fill it with `constellation content add`"


def add_content(commands: Commands) -> None:
    group = commands.add_group("content", "list, print, embed and add content items")
    list_parser = group.add(
        "list",
        run_list,
        "list a shard's catalogue, ordered by content id",
        examples=("", "--limit 0 --json | jq -r '.contents[].title'"),
    )
    add_limit_flag(list_parser, _DEFAULT_LIMIT, "content items")
    add_connection_flags(list_parser)
    get_parser = group.add(
        "get", run_get, "print one content item of a shard's catalogue", examples=("film:0111161",)
    )
    get_parser.add_argument(
        "content_id", type=parse_text, metavar="CONTENT_ID", help="id of the content item"
    )
    add_connection_flags(get_parser)
    add_content_add(group)
    add_content_embed(group)


async def run_list(options: Namespace) -> int:
    """Print the content items of the catalogue without their embeddings."""
    async with open_remote(options) as remote:
        listing = await _list_contents(remote, options.limit)
    contents = listing.items
    if options.json:
        print_json(
            {"contents": [to_json(content) for content in contents], "more": listing.has_more}
        )
        return SUCCESS
    console = make_console()
    _make_table(contents).print(console)
    summary = pluralise(len(contents), "content item") if contents else _EMPTY_MESSAGE
    console.print(f"[dim]{summary}{listing.more_hint}[/]")
    return SUCCESS


def _make_table(contents: Sequence[shard_pb2.Content]) -> PrintedTable:
    table = PrintedTable(
        [
            text_column("content id"),
            text_column("title"),
            number_column("year"),
            PrintedColumn("type"),
            text_column("genres"),
        ]
    )
    for content in contents:
        table.add_row(
            escape(content.content_id),
            escape(content.title),
            str(content.year or ""),
            format_content_type(content.content_type),
            escape(", ".join(content.genres)),
        )
    return table


async def run_get(options: Namespace) -> int:
    """Print one content item. Raises CommandError when the catalogue does not have it."""
    async with open_remote(options) as remote:
        response = await remote.find(
            remote.shard.GetContent, shard_pb2.GetContentRequest(content_id=options.content_id)
        )
    if response is None:
        raise CommandError(
            f"the catalogue of {remote.address} has no content item {options.content_id}; "
            "`constellation content list` lists what it has"
        )
    content = response.content
    if options.json:
        print_json(to_json(response))
        return SUCCESS
    console = make_console()
    console.print(f"[bold]{escape(content.title or content.content_id)}[/]")
    details = (
        ("id", content.content_id),
        ("type", format_content_type(content.content_type)),
        ("year", str(content.year or "unknown")),
        ("genres", ", ".join(content.genres)),
        ("embedding", f"{format_count(len(content.embedding))} bytes, INT8"),
    )
    for name, value in details:
        console.print(f"  {name:10} {escape(value)}")
    return SUCCESS


async def _list_contents(remote: Remote, limit: int) -> Listing[shard_pb2.Content]:
    async def fetch_page(size: int, token: str) -> tuple[Sequence[shard_pb2.Content], str]:
        request = shard_pb2.ListContentRequest(
            page_size=size, page_token=token, omit_embeddings=True
        )
        page = await remote.call(remote.shard.ListContent, request)
        return page.contents, page.next_page_token

    return await fetch_pages(fetch_page, limit=limit, page_size=_PAGE_SIZE)
