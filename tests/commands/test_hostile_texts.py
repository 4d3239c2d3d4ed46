"""Texts of a catalogue or a device are shown, and never obeyed: by terminal, browser or picture."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.command_line import make_command_line
from tests.servers import TITLES, run_fleet
from tests.terminal import run_on_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.command_line import CommandLine
    from tests.servers import RunningFleet

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\r\n\t\u202e\u2028\uffff"
SHOWN = r"\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\r\n\t\u202e\u2028\uffff"
SCRIPT = "</script><script>alert(1)</script><!--"
INVISIBLE = "\u202e\u2028\uffff"
"""They mislead a reader, but no terminal obeys them: the checks of new terms allow them."""
SHOWN_INVISIBLE = r"\u202e\u2028\uffff"
HOSTILE_ID = f"film:{INVISIBLE}"
HOSTILE_TITLES = {key: f"{SCRIPT}{title}{ESCAPES}[red]" for key, title in TITLES.items()} | {
    HOSTILE_ID: "A title"
}
HARMLESS = re.compile(r"[^\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202e\uffff]*")
"""No control character but the end of a line."""
LISTINGS = (
    ("devices", "{device}"),
    ("devices", "--all"),
    ("patterns",),
    ("patterns", "--device", "{device}"),
    ("search", "--content", "film:1"),
    ("trends",),
    ("clusters",),
    ("content", "list"),
    ("content", "get", "film:1"),
    ("content", "get", HOSTILE_ID),
    ("content", "get", f"unknown{ESCAPES}"),
    ("search", "--content", f"unknown{ESCAPES}"),
    ("status",),
    ("status", "--all"),
    ("top", "--interval", "0.05"),
    ("log-level",),
)
FEDERATION_LISTINGS = (("status",), ("rounds",), ("round",), ("log-level",))


@pytest.fixture(scope="module")
def hostile_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFleet]:
    folder = tmp_path_factory.mktemp("hostile")
    with run_fleet(folder, titles=HOSTILE_TITLES, region_suffix=INVISIBLE) as fleet:
        yield fleet


@pytest.fixture
def hostile_cli(
    hostile_fleet: RunningFleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    return make_command_line(monkeypatch, capsys, GRPC_ADDR=hostile_fleet.shard_addresses[0])


def fill_in(arguments: tuple[str, ...], fleet: RunningFleet) -> list[str]:
    return [each.replace("{device}", fleet.device_ids[0][0].hex()) for each in arguments]


@pytest.mark.parametrize("arguments", LISTINGS)
def test_what_people_read_has_no_control_characters(
    hostile_cli: CommandLine, hostile_fleet: RunningFleet, arguments: tuple[str, ...]
) -> None:
    finished = hostile_cli(*fill_in(arguments, hostile_fleet))

    assert HARMLESS.fullmatch(finished.out + finished.err)
    assert "Traceback" not in finished.err
    if arguments[0] not in {"log-level", "top"} and "--all" not in arguments:
        assert SHOWN_INVISIBLE in finished.out + finished.err


@pytest.mark.parametrize("arguments", FEDERATION_LISTINGS)
def test_what_people_read_of_a_federation_has_no_control_characters(
    hostile_cli: CommandLine, hostile_fleet: RunningFleet, arguments: tuple[str, ...]
) -> None:
    finished = hostile_cli(
        *arguments, "--address", hostile_fleet.federation_address, program="federation"
    )

    assert finished.status == 0
    assert HARMLESS.fullmatch(finished.out + finished.err)


def test_a_terminal_shows_what_it_would_obey(hostile_fleet: RunningFleet) -> None:
    with run_on_terminal(
        "constellation", "content", "list", GRPC_ADDR=hostile_fleet.shard_addresses[0]
    ) as terminal:
        assert terminal.read_to_exit() == 0

    assert HARMLESS.fullmatch(terminal.text)


def test_json_holds_the_texts_as_they_are_without_control_characters(
    hostile_cli: CommandLine,
) -> None:
    finished = hostile_cli("content", "get", "film:1", "--json")

    assert HARMLESS.fullmatch(finished.out)
    assert json.loads(finished.out)["content"]["title"] == HOSTILE_TITLES["film:1"]


@pytest.mark.parametrize("kind", ["patterns", "trends"])
def test_a_title_cannot_end_the_script_of_a_page(
    hostile_cli: CommandLine, tmp_path: Path, kind: str
) -> None:
    pytest.importorskip("altair", reason="needs the extra plot")
    file = tmp_path / "page.html"

    assert hostile_cli("plot", kind, str(file)).status == 0

    page = file.read_text()
    (specification,) = (line for line in page.splitlines() if line.strip().startswith("const spec"))
    assert not set("<>&") & set(specification)
    drawn = json.dumps(json.loads(specification.partition("=")[2].strip().rstrip(";")))
    assert json.dumps(SCRIPT)[1:-1] in drawn
    assert json.dumps(SHOWN)[1:-1] in drawn


@pytest.mark.parametrize("kind", ["patterns", "trends"])
def test_a_control_character_breaks_no_picture(
    hostile_cli: CommandLine, tmp_path: Path, kind: str
) -> None:
    pytest.importorskip("altair", reason="needs the extra plot")
    file = tmp_path / "picture.png"

    finished = hostile_cli("plot", kind, str(file))

    assert finished.status == 0, finished.err
    assert file.read_bytes().startswith(b"\x89PNG")
