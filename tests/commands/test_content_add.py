from __future__ import annotations

from typing import TYPE_CHECKING

from tests.command_line import needs_model
from tests.commands.catalogues import make_film_line, write_catalogue

if TYPE_CHECKING:
    from pathlib import Path

    from tests.command_line import CommandLine


def test_a_file_added_twice_replaces_its_content_items(
    unconfigured_cli: CommandLine, writable_shard: str, tmp_path: Path
) -> None:
    file = write_catalogue(tmp_path, make_film_line(1), make_film_line(2))
    to = ("--address", writable_shard)

    first = unconfigured_cli("content", "add", file, *to)
    again = unconfigured_cli.run_json("content", "add", file, *to)

    assert first.out == f"2 content items added, 0 replaced at {writable_shard}\n"
    assert first.err == ""  # no progress bar, but on a terminal
    assert again == {"addresses": [writable_shard], "added_count": 0, "replaced_count": 2}
    assert unconfigured_cli("content", "get", "film:2", *to).out.startswith("Film 2\n")


def test_a_wrong_line_is_named_with_its_file(
    unconfigured_cli: CommandLine, writable_shard: str, tmp_path: Path
) -> None:
    file = write_catalogue(tmp_path, make_film_line(1), make_film_line(2, content_type="opera"))

    finished = unconfigured_cli("content", "add", file, "--address", writable_shard)

    assert finished.status == 1
    assert finished.err == (
        f"constellation: {file} line 2: content_type must be one of movie, episode, live, clip, "
        "got 'opera'\n"
    )


def test_a_line_that_a_shard_rejects_is_named(
    unconfigured_cli: CommandLine, writable_shard: str, tmp_path: Path
) -> None:
    file = write_catalogue(tmp_path, make_film_line(1), make_film_line(2, title="x" * 2000))

    finished = unconfigured_cli("content", "add", file, "--address", writable_shard)

    assert finished.status == 1
    assert finished.err.startswith(f"constellation: {file} line 2: title")


def test_a_catalogue_that_is_not_there_is_a_usage_error(cli: CommandLine, tmp_path: Path) -> None:
    finished = cli("content", "add", str(tmp_path / "none.jsonl"))

    assert finished.status == 2
    assert finished.err == (
        f"constellation: cannot read {tmp_path / 'none.jsonl'}: No such file or directory\n"
    )


@needs_model
def test_what_was_embedded_is_added_and_found_by_its_text(
    unconfigured_cli: CommandLine, writable_shard: str, tmp_path: Path
) -> None:
    source = write_catalogue(
        tmp_path, {"content_id": "film:9", "content_type": "movie", "title": "Heat", "year": 1995}
    )
    target = tmp_path / "embedded.jsonl"

    embedded = unconfigured_cli("content", "embed", source, str(target))
    added = unconfigured_cli("content", "add", str(target), "--address", writable_shard)

    assert embedded.status == 0, embedded.err
    assert embedded.err == "1 content item embedded\n"
    assert added.out == f"1 content item added, 0 replaced at {writable_shard}\n"
