"""`constellation search`: print the patterns most similar to a content item, device or text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.cli.connection_flags import add_connection_flags
from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import SUCCESS
from constellation.cli.ids import parse_device_id
from constellation.cli.parsing import make_number_parser, parse_text
from constellation.cli.printing import make_console, pluralise, print_json, to_json
from constellation.cli.remote import open_remote
from constellation.cli.titles import look_up_contents
from constellation.commands.content_embed import load_text_model
from constellation.commands.patterns import print_patterns
from constellation.encoding import Encoding, encode
from constellation.v1 import patterns_pb2, shard_pb2

if TYPE_CHECKING:
    from argparse import Namespace

    from constellation.cli.parsing import Commands

_DEFAULT_LIMIT: Final = 20
_MAX_LIMIT: Final = 500


def add_search(commands: Commands) -> None:
    parser = commands.add(
        "search",
        run_search,
        "print the patterns most similar to a content item, a device or a text",
        details="Similarity is the cosine. In JSON, the ids of patterns are pseudonyms, as devices "
        "see them. --text needs the extra `embed`.",
        examples=(
            "--content film:0111161",
            "--device 5a1f0c4e9b7d4e1f8a6b3c2d1e0f9a8b --limit 5",
            '--text "a heist that goes wrong"',
        ),
    )
    query = parser.add_mutually_exclusive_group(required=True)
    query.add_argument(
        "--content",
        type=parse_text,
        metavar="CONTENT_ID",
        help="similar to this content item of the catalogue",
    )
    query.add_argument(
        "--device",
        type=parse_device_id,
        metavar="DEVICE_ID",
        help="similar to the patterns of this device",
    )
    query.add_argument("--text", type=parse_text, help="similar to this text")
    parser.add_argument(
        "--limit",
        type=make_number_parser(1, _MAX_LIMIT, is_integer=True),
        default=_DEFAULT_LIMIT,
        metavar="N",
        help=f"print at most N patterns, from 1 to {_MAX_LIMIT} (default: %(default)s)",
    )
    add_connection_flags(parser)


async def run_search(options: Namespace) -> int:
    """Print the patterns found, most similar first."""
    request = _make_request(options)
    async with open_remote(options) as remote:
        response = await remote.find(remote.shard.SearchPatterns, request)
        if response is None:
            raise _make_unknown_error(remote.address, options)
        if options.json:
            print_json(to_json(response))
            return SUCCESS
        contents = await look_up_contents(remote, response.patterns.content_ids)
    console = make_console()
    print_patterns(console, response.patterns, contents, response.similarities)
    count = len(response.similarities)
    console.print(f"[dim]{pluralise(count, 'pattern') if count else 'no similar patterns'}[/]")
    return SUCCESS


def _make_unknown_error(address: str, options: Namespace) -> CommandError:
    if options.content is not None:
        item, command = f"content item {options.content}", "`constellation content list`"
    else:
        item, command = f"device {options.device.hex()}", "`constellation devices`"
    return CommandError(f"{address} has no {item}; {command} lists what it has")


def _make_request(options: Namespace) -> shard_pb2.SearchPatternsRequest:
    request = shard_pb2.SearchPatternsRequest(limit=options.limit)
    if options.content is not None:
        request.content_id = options.content
    elif options.device is not None:
        request.device_id = options.device
    else:
        embedding = load_text_model().embed(options.text)
        request.embeddings = encode(embedding[np.newaxis], Encoding.FLOAT32)
        request.encoding = patterns_pb2.ENCODING_FLOAT32
    return request
