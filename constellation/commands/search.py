"""`constellation search`: the patterns nearest to something."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import DONE
from constellation.cli.flags import add_flags
from constellation.cli.ids import device_id
from constellation.cli.parsing import number_from
from constellation.cli.printing import make_console, many, print_json, to_json
from constellation.cli.remote import one
from constellation.cli.titles import look_up
from constellation.commands.content_embed import open_model
from constellation.commands.patterns import print_patterns
from constellation.encoding import Encoding, encode
from constellation.v1 import patterns_pb2, shard_pb2

if TYPE_CHECKING:
    from argparse import Namespace

    from constellation.cli.parsing import Commands

_LIMIT: Final = 20
_MAX_LIMIT: Final = 1000


def add_search(commands: Commands) -> None:
    parser = commands.add(
        "search",
        run_search,
        "print the patterns nearest to a content, a device's taste, or a text",
        more="Patterns are pseudonymous, as devices see them; `near` is the cosine. A text needs "
        "the extra `embed`.",
        examples=(
            "--content film:0111161",
            "--device 5a1f0c4e9b7d4e1f8a6b3c2d1e0f9a8b --limit 5",
            '--text "a heist that goes wrong"',
        ),
    )
    query = parser.add_mutually_exclusive_group(required=True)
    query.add_argument("--content", metavar="CONTENT_ID", help="near a content of the catalogue")
    query.add_argument(
        "--device", type=device_id, metavar="DEVICE_ID", help="near what a device likes"
    )
    query.add_argument("--text", help="near what a text says")
    parser.add_argument(
        "--limit",
        type=number_from(1, _MAX_LIMIT, whole=True),
        default=_LIMIT,
        metavar="N",
        help="how many (default: %(default)s)",
    )
    add_flags(parser)


async def run_search(options: Namespace) -> int:
    """Print what is near."""
    request = _request(options)
    async with one(options) as remote:
        found = await remote.find(remote.shard.SearchPatterns, request)
        if found is None:
            if options.content:
                what, where = f"content {options.content}", "`constellation content list`"
            else:
                what, where = f"device {options.device.hex()}", "`constellation devices`"
            raise CommandError(f"{remote.address} knows no {what}; {where} lists what it knows")
        if options.json:
            print_json(to_json(found))
            return DONE
        titles = await look_up(remote, found.patterns.content_ids)
    console = make_console()
    print_patterns(console, found.patterns, titles, found.similarities)
    near = len(found.similarities)
    console.print(f"[dim]{many(near, 'pattern') if near else 'no patterns are near'}[/]")
    return DONE


def _request(options: Namespace) -> shard_pb2.SearchPatternsRequest:
    request = shard_pb2.SearchPatternsRequest(limit=options.limit)
    if options.content:
        request.content_id = options.content
    elif options.device is not None:
        request.device_id = options.device
    else:
        embedding = open_model().embed(options.text)
        request.embeddings = encode(embedding[np.newaxis], Encoding.FLOAT32)
        request.encoding = patterns_pb2.ENCODING_FLOAT32
    return request
