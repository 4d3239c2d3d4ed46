from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.scenarios.processes import run_command

if TYPE_CHECKING:
    from tests.command_line import CommandLine


async def test_help_names_the_commands_and_where_settings_are_listed() -> None:
    finished = await run_command("--help")

    assert finished.status == 0
    assert "serve" in finished.out
    assert "check" in finished.out
    assert "docs/operations.md" in finished.out
    assert finished.err == ""


@pytest.mark.parametrize("arguments", [(), ("dance",), ("serve", "--fast")])
async def test_a_wrong_command_line_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    finished = await run_command(*arguments)

    assert finished.status == 2
    assert finished.err.startswith("usage: constellation")


@pytest.mark.parametrize("program", ["constellation", "federation"])
def test_without_a_command_it_is_a_usage_error(unconfigured_cli: CommandLine, program: str) -> None:
    finished = unconfigured_cli(program=program)

    assert finished.status == 2
    assert finished.err.startswith(f"usage: {program}")
