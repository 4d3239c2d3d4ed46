"""Files that nobody would write on purpose: a command names the file and the line, and fails."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from constellation.archive.lines import HEADER_LINE
from tests.command_line import needs_model
from tests.commands.catalogues import make_film_line
from tests.servers import run_subprocess
from tests.tls import make_certificate

if TYPE_CHECKING:
    from pathlib import Path

    from tests.command_line import CommandLine

HOSTILE_LINES = {
    "half of a character in the title": (
        json.dumps(make_film_line(1, title="\ud800")).encode(),
        "title must be Unicode text",
    ),
    "half of a character in a genre": (
        json.dumps(make_film_line(1, genres=["\udfff"])).encode(),
        "genres must be Unicode text",
    ),
    "half of a character, raw": (
        json.dumps(make_film_line(1, title="?")).encode().replace(b'"?"', b'"\xed\xa0\x80"'),
        "title must be Unicode text",
    ),
    "NUL": (json.dumps(make_film_line(1, title="a\0b")).encode(), "title must not contain NUL"),
    "deep nesting": (b"[" * 100_000, "is nested too deeply"),
    "deep nesting in a field": (b'{"title": ' + b'{"a":' * 100_000, "is nested too deeply"),
    "a line of 10 MB": (
        json.dumps(make_film_line(1, title="x" * 10_000_000)).encode(),
        "is longer than 1,048,576 bytes",
    ),
    "a line of 10 MB without any end": (b"x" * 10_000_000, "is longer than 1,048,576 bytes"),
    "an encoding that is a list": (
        json.dumps(make_film_line(1, encoding=[])).encode(),
        "encoding must be one of",
    ),
    "an embedding that is no ASCII": (
        json.dumps(make_film_line(1, embedding="é")).encode(),
        "embedding must be base64",
    ),
    "a number of 5,000 digits": (b'{"year": ' + b"1" * 5000 + b"}", "is not valid JSON"),
    "no UTF-8": (b'{"title": "\xff"}', "is not valid JSON"),
    "nothing but NUL": (b"\0" * 100, "is not valid JSON"),
}
NOT_EMBEDDED = {"an encoding that is a list", "an embedding that is no ASCII"}


def write_second_line(folder: Path, line: bytes, first: object = None) -> str:
    file = folder / "hostile.jsonl"
    file.write_bytes(json.dumps(first or make_film_line(7)).encode() + b"\n" + line + b"\n")
    return str(file)


@pytest.mark.parametrize("name", HOSTILE_LINES)
def test_a_hostile_line_of_a_catalogue_is_named(
    unconfigured_cli: CommandLine, writable_shard: str, tmp_path: Path, name: str
) -> None:
    line, problem = HOSTILE_LINES[name]
    file = write_second_line(tmp_path, line)

    finished = unconfigured_cli("content", "add", file, "--address", writable_shard)

    assert finished.status == 1
    assert finished.err.startswith(f"constellation: {file} line 2: {problem}")
    assert finished.err.count("\n") == 1
    assert len(finished.err) < 1000


@needs_model
@pytest.mark.parametrize("name", sorted(set(HOSTILE_LINES) - NOT_EMBEDDED))
def test_a_hostile_line_to_embed_is_named(
    unconfigured_cli: CommandLine, tmp_path: Path, name: str
) -> None:
    line, problem = HOSTILE_LINES[name]
    file = write_second_line(tmp_path, line)

    finished = unconfigured_cli("content", "embed", file, str(tmp_path / "out.jsonl"))

    assert finished.status == 1
    assert finished.err.startswith(f"constellation: {file} line 2: {problem}")
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("name", HOSTILE_LINES)
@pytest.mark.parametrize("kind", ["content", "end"])
def test_a_hostile_line_of_an_export_is_named(tmp_path: Path, name: str, kind: str) -> None:
    line, _ = HOSTILE_LINES[name]
    if line.startswith(b"{"):
        line = f'{{"{kind}": '.encode() + line + b"}"
    file = write_second_line(tmp_path, line, HEADER_LINE)

    finished = run_subprocess("constellation", "import", file, data_dir=tmp_path / "store")

    assert finished.status == 1
    assert finished.err.splitlines()[-1].startswith(f"constellation: {file}: ")
    assert "Traceback" not in finished.err
    assert len(finished.err) < 4000


def test_half_of_a_character_in_the_title_of_an_export_is_named(tmp_path: Path) -> None:
    fields = {"content_id": "a", "content_type": 1, "genres": [], "year": 1}
    codes = make_film_line(1)["embedding"]
    content = {"content": {**fields, "title": "\ud800", "embedding": str(codes)[:512]}}
    file = write_second_line(tmp_path, json.dumps(content).encode(), HEADER_LINE)

    finished = run_subprocess("constellation", "import", file, data_dir=tmp_path / "store")

    assert finished.status == 1
    assert finished.err.startswith(f"constellation: {file}: line 2 is wrong: 'utf-8' codec can't")


def test_many_long_lines_are_added_in_requests_that_a_shard_takes(
    unconfigured_cli: CommandLine, writable_shard: str, tmp_path: Path
) -> None:
    lines = [make_film_line(number, text="x" * 10_000) for number in range(300)]
    lines.append(make_film_line(301, title="y" * 900_000))
    file = tmp_path / "long.jsonl"
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))

    finished = unconfigured_cli("content", "add", str(file), "--address", writable_shard)

    assert finished.status == 1
    assert f"{file} line 301: title must be at most 256 bytes" in finished.err


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (("content", "add"), "cannot read {name}: Is a directory"),
        (("import",), "{name} is not a regular file"),
    ],
)
def test_a_directory_in_place_of_a_file_is_named(
    tmp_path: Path, command: tuple[str, ...], problem: str
) -> None:
    finished = run_subprocess(
        "constellation", *command, str(tmp_path), data_dir=tmp_path / "s", grpc_addr="127.0.0.1:1"
    )

    assert finished.status == 2
    assert finished.err.splitlines()[-1].startswith(
        f"constellation: {problem.format(name=tmp_path)}"
    )


def test_a_file_that_cannot_be_read_is_named(
    unconfigured_cli: CommandLine, writable_shard: str
) -> None:
    name = "/proc/self/mem"  # it opens, and then gives no byte

    finished = unconfigured_cli("content", "add", name, "--address", writable_shard)

    assert (finished.status, finished.err) == (
        1,
        f"constellation: {name} line 1: Input/output error\n",
    )


@pytest.mark.parametrize("content", [b"", b"no PEM \xff\x00", b"-----BEGIN CERTIFICATE-----\n"])
@pytest.mark.parametrize("flag", ["--ca", "--cert", "--key"])
def test_a_file_without_certificate_or_key_is_named(
    unconfigured_cli: CommandLine, tmp_path: Path, flag: str, content: bytes
) -> None:
    good = make_certificate(tmp_path, "client.example")
    hostile = tmp_path / "hostile.pem"
    hostile.write_bytes(content)
    files = {"--ca": good.cert, "--cert": good.cert, "--key": good.key, flag: hostile}

    finished = unconfigured_cli(
        *("status", "--address", "127.0.0.1:1"),
        *(str(part) for each in files.items() for part in each),
    )

    problem = "is not the key of --cert" if flag == "--key" else "has no certificate in PEM"
    assert finished.status == 2
    assert finished.err.startswith(f"constellation: {flag} {hostile}: {problem}")
    assert finished.err.count("\n") == 1


def test_a_key_with_a_password_is_refused_without_asking(
    unconfigured_cli: CommandLine, tmp_path: Path
) -> None:
    good, locked = make_certificate(tmp_path, "client.example"), tmp_path / "locked.pem"
    lock = ["openssl", "pkey", "-aes256", "-passout", "pass:x"]
    files = ["-in", str(good.key), "-out", str(locked)]
    subprocess.run([*lock, *files], check=True, capture_output=True)

    finished = unconfigured_cli(
        "status", "--address", "127.0.0.1:1", "--cert", str(good.cert), "--key", str(locked)
    )

    assert finished.status == 2
    assert "without a password" in finished.err


def test_a_file_without_end_is_no_certificate(unconfigured_cli: CommandLine) -> None:
    finished = unconfigured_cli("status", "--address", "127.0.0.1:1", "--ca", "/dev/zero")

    assert finished.status == 2
    assert "--ca /dev/zero: is longer than 1,048,576 bytes" in finished.err


def test_an_export_into_a_device_leaves_the_device(stored_data_dir: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "null"
    pipe.symlink_to("/dev/null")

    finished = run_subprocess("constellation", "export", str(pipe), data_dir=stored_data_dir)

    assert finished.status == 0
    assert pipe.is_symlink()
    assert pipe.is_char_device()
