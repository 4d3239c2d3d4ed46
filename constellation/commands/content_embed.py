"""`constellation content embed`: add embeddings to a catalogue in JSON Lines."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import numpy as np

from constellation.cli.content_lines import MAX_LINE_BYTES, parse_lines
from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import SUCCESS, USAGE_ERROR
from constellation.cli.extras import load_extra
from constellation.cli.files import open_input, open_output, read_lines
from constellation.cli.parsing import add_json_flag, complete_file_names
from constellation.cli.printing import pluralise, print_json, print_message
from constellation.cli.progress import show_progress
from constellation.encoding import Encoding, encode

if TYPE_CHECKING:
    from argparse import Namespace

    from constellation.cli.parsing import Commands
    from constellation.cli.text_embedding import TextModel


def add_content_embed(group: Commands) -> None:
    parser = group.add(
        "embed",
        run_embed,
        "add embeddings to a catalogue in JSON Lines",
        details="Each line is an object with content_id, title, content_type (movie, episode, "
        "live or clip) and, optionally, genres, year and text. The text is embedded; without a "
        "text, title, year and genres are embedded. The model all-MiniLM-L6-v2 runs on this "
        "machine; no data leaves it.",
        examples=("films.jsonl catalogue.jsonl", "- - < films.jsonl | constellation content add -"),
    )
    complete_file_names(
        parser.add_argument("source", metavar="IN", help='input file; "-" is standard input')
    )
    complete_file_names(
        parser.add_argument("target", metavar="OUT", help='output file; "-" is standard output')
    )
    add_json_flag(parser)


async def run_embed(options: Namespace) -> int:
    """Embed every content item of a file; an error leaves no output file.

    Raises CommandError when a line is invalid, or when the model is not installed.
    """
    if options.target == "-" and options.json:
        raise CommandError(
            '--json and OUT "-" would both write to standard output: name a file', USAGE_ERROR
        )
    model = load_text_model()
    embedded = 0
    with (
        open_input(options.source) as (source, size_bytes),
        open_output(options.target) as target,
        show_progress("Embedding", size_bytes) as advance,
    ):
        lines = read_lines(source, options.source, MAX_LINE_BYTES)
        entries = parse_lines(options.source, lines, advance)
        for entry, embedding in model.embed_each((entry, entry.text) for entry in entries):
            row = encode(embedding[np.newaxis], Encoding.INT8)
            fields = {**entry.fields, "embedding": base64.b64encode(row).decode("ascii")}
            fields.pop("encoding", None)
            target.write(json.dumps(fields, ensure_ascii=False).encode() + b"\n")
            embedded += 1
    if options.json:
        print_json({"file": options.target, "contents": embedded})
    else:
        print_message(f"{pluralise(embedded, 'content item')} embedded")
    return SUCCESS


def load_text_model() -> TextModel:
    """Load the model. Raises CommandError, which says what to install when it is missing."""
    embedding = load_extra("constellation.cli.text_embedding", "embed")
    try:
        model: TextModel = embedding.open_model()
    except ModuleNotFoundError as error:
        raise CommandError(str(error)) from error
    return model
