from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.scenarios.processes import COMMAND_DIR

if TYPE_CHECKING:
    from pathlib import Path

    from tests.command_line import CommandLine

PROGRAMS = ["constellation", "federation"]


def complete(script: str, *words: str) -> list[str]:
    """Return what a real bash offers after these words, the last one unfinished."""
    program = words[0]
    line = " ".join(f"'{word}'" for word in words)
    asked = (
        f"source /dev/stdin; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; "
        f'_shtab_{program}; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    finished = subprocess.run(
        ["bash", "--norc", "-c", asked], input=script, check=True, capture_output=True, text=True
    )
    assert finished.stderr == ""
    return finished.stdout.split()


@pytest.mark.parametrize("program", PROGRAMS)
def test_bash_completes_what_the_installed_command_prints(program: str) -> None:
    environment = {**os.environ, "PATH": f"{COMMAND_DIR}:{os.environ['PATH']}"}

    finished = subprocess.run(
        ["bash", "--norc", "-c", f"source <({program} completion bash); complete -p {program}"],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )

    assert finished.stdout.strip().endswith(f" {program}")
    assert finished.stderr == ""


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("constellation", "st"), ["status"]),
        (("constellation", "content", ""), ["list", "get", "add", "embed"]),
        (("constellation", "plot", "p"), ["patterns"]),
        (("constellation", "log-level", "w"), ["warning"]),
        (("constellation", "devices", "--conn"), ["--connected"]),
        (("federation", "ro"), ["rounds", "round"]),
        (("federation", "round", "--o"), ["--once"]),
    ],
)
def test_bash_offers_commands_and_flags(
    unconfigured_cli: CommandLine, words: tuple[str, ...], offered: list[str]
) -> None:
    script = unconfigured_cli("completion", "bash", program=words[0]).out

    assert complete(script, *words) == offered


def test_bash_offers_files_where_a_command_takes_files(
    unconfigured_cli: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "shard-0.jsonl").touch()
    script = unconfigured_cli("completion", "bash").out

    for words in (("import",), ("content", "add"), ("status", "--ca")):
        offered = complete(script, "constellation", *words, f"{tmp_path}/sh")
        assert offered == [f"{tmp_path}/shard-0.jsonl"]


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_get_a_script_that_they_can_parse(
    unconfigured_cli: CommandLine, tmp_path: Path, shell: str, program: str
) -> None:
    finished = unconfigured_cli("completion", shell, program=program)
    script = tmp_path / "script"
    script.write_text(finished.out)

    assert finished.status == 0
    assert program in finished.out
    if shutil.which(shell):
        subprocess.run([shell, "-n", script], check=True, capture_output=True)


def test_an_unknown_shell_is_a_usage_error(unconfigured_cli: CommandLine) -> None:
    finished = unconfigured_cli("completion", "cmd")

    assert finished.status == 2
    assert "invalid choice: 'cmd'" in finished.err
