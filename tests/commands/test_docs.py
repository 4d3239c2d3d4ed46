from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

import constellation.__main__
import federation.__main__

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
PARSERS = [constellation.__main__.build_parser(), federation.__main__.build_parser()]


def iterate_commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield every command that does something, nouns without their verbs left out."""
    groups = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    if not groups:
        yield parser
    for group in groups:
        for command in group.choices.values():
            yield from iterate_commands(command)


COMMANDS = {command.prog: command for parser in PARSERS for command in iterate_commands(parser)}


def read_sections() -> dict[str, str]:
    """Return what the page says of each command."""
    parts = re.split(r"^### `(.+)`$", PAGE, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_the_page_has_a_section_for_every_command_and_no_other() -> None:
    assert sorted(read_sections()) == sorted(COMMANDS)


def test_every_section_has_an_example_of_its_command() -> None:
    for name, text in read_sections().items():
        assert re.search(rf"^\$ .*\b{name}\b", text, re.MULTILINE), name


def test_every_flag_that_the_page_names_exists() -> None:
    known = {flag for each in COMMANDS.values() for flag in each._option_string_actions}

    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", PAGE)) <= known


def test_every_command_that_answers_can_answer_in_json() -> None:
    without = {
        name for name, each in COMMANDS.items() if "--json" not in each._option_string_actions
    }

    assert without == {
        "constellation serve",
        "constellation completion",
        "federation run",
        "federation completion",
    }


def test_examples_in_the_help_are_command_lines_that_parse() -> None:
    for name, command in COMMANDS.items():
        shown = re.findall(rf"^  {name}(.*)$", command.epilog or "", re.MULTILINE)
        assert shown or command.epilog is None
        for example in shown:
            words = re.split(r" [|<>] ", example)[0].replace('"', "'").split("'")
            arguments = [
                part
                for index, text in enumerate(words)
                for part in ([text] if index % 2 else text.split())
            ]
            command.parse_args(arguments)
