"""Catalogue files, to embed and to add."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from constellation.encoding import Encoding, encode
from tests.deltas import embedding

if TYPE_CHECKING:
    from pathlib import Path


def write_catalogue(folder: Path, *lines: dict[str, object]) -> str:
    file = folder / "catalogue.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(file)


def make_film_line(number: int, **more: object) -> dict[str, object]:
    row = encode(embedding(number)[None], Encoding.INT8)
    return {
        "content_id": f"film:{number}",
        "content_type": "movie",
        "title": f"Film {number}",
        "embedding": base64.b64encode(row).decode(),
        **more,
    }
