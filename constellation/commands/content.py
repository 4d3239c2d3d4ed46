"""`constellation content`: what a shard's catalogue holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.markup import escape

from constellation.cli.columns import content_type_word
from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import DONE
from constellation.cli.flags import add_flags
from constellation.cli.parsing import number_from
from constellation.cli.printing import count, make_console, many, print_json, to_json
from constellation.cli.remote import one
from constellation.cli.tables import Column, Table, number, words
from constellation.commands.content_add import add_content_add
from constellation.commands.content_embed import add_content_embed
from constellation.v1 import shard_pb2

if TYPE_CHECKING:
    from argparse import Namespace

    from constellation.cli.parsing import Commands
    from constellation.cli.remote import Remote

_LIMIT: Final = 50
_PAGE: Final = 1000
_EMPTY: Final = "the catalogue is empty: `constellation content add` fills it"


def add_content(commands: Commands) -> None:
    group = commands.group("content", "list, look up, embed and add what can be watched")
    listing = group.add(
        "list",
        run_list,
        "list the catalogue of a shard, in the order of its ids",
        examples=("", "--limit 0 --json | jq -r '.contents[].title'"),
    )
    listing.add_argument(
        "--limit",
        type=number_from(0, 1e9, whole=True),
        default=_LIMIT,
        metavar="N",
        help="at most so many; 0: all (default: %(default)s)",
    )
    add_flags(listing)
    getting = group.add(
        "get", run_get, "print one content of a shard's catalogue", examples=("film:0111161",)
    )
    getting.add_argument("content_id", metavar="CONTENT_ID", help="its id")
    add_flags(getting)
    add_content_add(group)
    add_content_embed(group)


async def run_list(options: Namespace) -> int:
    """Print the catalogue, without embeddings."""
    async with one(options) as remote:
        contents, more = await _pages(remote, options.limit or float("inf"))
    if options.json:
        print_json({"contents": [to_json(content) for content in contents], "more": more})
        return DONE
    table = Table(
        [words("content"), words("title"), number("year"), Column("type"), words("genres")]
    )
    for content in contents:
        table.add(
            escape(content.content_id),
            escape(content.title),
            str(content.year or ""),
            content_type_word(content.content_type),
            escape(", ".join(content.genres)),
        )
    console = make_console()
    table.print(console)
    follow = "; more follow: --limit 0 lists all" if more else ""
    told = many(len(contents), "content") if contents else _EMPTY
    console.print(f"[dim]{told}{follow}[/]")
    return DONE


async def run_get(options: Namespace) -> int:
    """Print one content."""
    async with one(options) as remote:
        answer = await remote.find(
            remote.shard.GetContent, shard_pb2.GetContentRequest(content_id=options.content_id)
        )
    if answer is None:
        raise CommandError(
            f"the catalogue of {remote.address} has no content {options.content_id}; "
            "`constellation content list` lists it"
        )
    content = answer.content
    if options.json:
        print_json(to_json(answer))
        return DONE
    console = make_console()
    console.print(f"[bold]{escape(content.title or content.content_id)}[/]")
    told = (
        ("id", content.content_id),
        ("type", content_type_word(content.content_type)),
        ("year", str(content.year or "unknown")),
        ("genres", ", ".join(content.genres)),
        ("embedding", f"{count(len(content.embedding))} bytes, INT8"),
    )
    for name, value in told:
        console.print(f"  {name:10} {escape(value)}")
    return DONE


async def _pages(remote: Remote, limit: float) -> tuple[list[shard_pb2.Content], bool]:
    """Return the first contents, and whether there are more."""
    contents: list[shard_pb2.Content] = []
    token = ""
    while len(contents) < limit:
        page = await remote.ask(
            remote.shard.ListContent,
            shard_pb2.ListContentRequest(
                page_size=int(min(_PAGE, limit - len(contents))),
                page_token=token,
                omit_embeddings=True,
            ),
        )
        contents += page.contents
        token = page.next_page_token
        if not token:
            break
    return contents, bool(token)
