"""`constellation content`: what a shard's catalogue holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.markup import escape

from constellation.cli.columns import format_content_type
from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import SUCCESS
from constellation.cli.flags import add_connection_flags
from constellation.cli.parsing import make_number_parser
from constellation.cli.printing import format_count, make_console, pluralise, print_json, to_json
from constellation.cli.remote import open_remote
from constellation.cli.tables import PrintedColumn, PrintedTable, number_column, text_column
from constellation.commands.content_add import add_content_add
from constellation.commands.content_embed import add_content_embed
from constellation.v1 import shard_pb2

if TYPE_CHECKING:
    from argparse import Namespace

    from constellation.cli.parsing import Commands
    from constellation.cli.remote import Remote

_DEFAULT_LIMIT: Final = 50
_PAGE_SIZE: Final = 1000
_EMPTY_MESSAGE: Final = "the catalogue is empty: `constellation content add` fills it"


def add_content(commands: Commands) -> None:
    group = commands.add_group("content", "list, look up, embed and add what can be watched")
    list_parser = group.add(
        "list",
        run_list,
        "list the catalogue of a shard, in the order of its ids",
        examples=("", "--limit 0 --json | jq -r '.contents[].title'"),
    )
    list_parser.add_argument(
        "--limit",
        type=make_number_parser(0, 1e9, is_integer=True),
        default=_DEFAULT_LIMIT,
        metavar="N",
        help="at most so many; 0: all (default: %(default)s)",
    )
    add_connection_flags(list_parser)
    get_parser = group.add(
        "get", run_get, "print one content of a shard's catalogue", examples=("film:0111161",)
    )
    get_parser.add_argument("content_id", metavar="CONTENT_ID", help="its id")
    add_connection_flags(get_parser)
    add_content_add(group)
    add_content_embed(group)


async def run_list(options: Namespace) -> int:
    """Print the catalogue, without embeddings."""
    async with open_remote(options) as remote:
        contents, has_more = await _list_contents(remote, options.limit or float("inf"))
    if options.json:
        print_json({"contents": [to_json(content) for content in contents], "more": has_more})
        return SUCCESS
    table = PrintedTable(
        [
            text_column("content"),
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
    console = make_console()
    table.print(console)
    more_hint = "; more follow: --limit 0 lists all" if has_more else ""
    summary = pluralise(len(contents), "content") if contents else _EMPTY_MESSAGE
    console.print(f"[dim]{summary}{more_hint}[/]")
    return SUCCESS


async def run_get(options: Namespace) -> int:
    """Print one content."""
    async with open_remote(options) as remote:
        response = await remote.find(
            remote.shard.GetContent, shard_pb2.GetContentRequest(content_id=options.content_id)
        )
    if response is None:
        raise CommandError(
            f"the catalogue of {remote.address} has no content {options.content_id}; "
            "`constellation content list` lists it"
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


async def _list_contents(remote: Remote, limit: float) -> tuple[list[shard_pb2.Content], bool]:
    """Return the first contents, and whether there are more."""
    contents: list[shard_pb2.Content] = []
    token = ""
    while len(contents) < limit:
        page = await remote.call(
            remote.shard.ListContent,
            shard_pb2.ListContentRequest(
                page_size=int(min(_PAGE_SIZE, limit - len(contents))),
                page_token=token,
                omit_embeddings=True,
            ),
        )
        contents += page.contents
        token = page.next_page_token
        if not token:
            break
    return contents, bool(token)
