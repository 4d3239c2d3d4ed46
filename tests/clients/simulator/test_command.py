from __future__ import annotations

import asyncio
import io
import json
import sys
from pathlib import Path

import pytest

from constellation_settop.__main__ import main
from constellation_settop.simulator.command import ProgressLines, format_summary
from constellation_settop.simulator.figures import Figures, summarize
from constellation_settop.simulator.fleet import Progress
from tests.clients.simulator.test_fleet import add_films
from tests.conftest import run_shard

ROOT = Path(__file__).parents[3]


async def test_the_command_prints_progress_and_a_summary_as_json(tmp_path: Path) -> None:
    async with run_shard(data_dir=tmp_path) as shard:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "constellation_settop", "simulate", "--json"),
            *("--address", await add_films(shard), "--devices", "20", "--minutes", "0.05"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()

    summary = json.loads(output)
    assert process.returncode == 0, errors.decode()
    assert (summary["devices"], summary["waiting"]) == (20, 0)
    assert summary["acked"] > 0
    assert errors.decode().startswith("20 devices, 60 content items, evening-peak")


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--devices", "0"], "--devices must be from 1 to 20000, got 0"),
        (["--minutes", "nan"], "--minutes must be from 0.01 to 1440, got nan"),
        (["--processes", "65"], "--processes must be from 1 to 64, got 65"),
        (["--churn", "1.5"], "--churn must be from 0 to 1, got 1.5"),
        (["--ca", "/nowhere"], "cannot read /nowhere: No such file"),
        (["--token-file", "/nowhere"], "cannot read /nowhere: No such file"),
        (["--global-keys", "/nowhere"], "cannot read /nowhere: No such file"),
    ],
)
def test_wrong_flags_are_said(
    flags: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", "--address", "127.0.0.1:1", *flags]) == 2

    assert problem in capsys.readouterr().err


def test_without_a_shard_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--address", "127.0.0.1:1"]) == 1

    assert "constellation-settop: no connection" in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_one_line_on_a_terminal_and_few_lines_elsewhere() -> None:
    figures = Figures(online=3, connected=2, views=7, waiting=1)
    figures.record_ack(1, 0.012)
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        lines = ProgressLines(stream)
        for _ in range(10):
            lines.show_progress(Progress(0.5, figures))
        lines.end()

    assert terminal.getvalue().count("\n") == 1
    assert file.getvalue().count("\n") == 1
    assert "##########.......... 12:00  2/3 connected  7 views  1 deltas acked, 1 wait" in (
        file.getvalue()
    )


def test_the_summary_names_what_went_wrong() -> None:
    figures = Figures()
    figures.record_ack(1, 0.25)
    figures.rejections["below quality"] = 2
    figures.problems["no connection: nobody listens"] = 5

    text = format_summary(summarize(figures, 9, 2.0, 4))

    assert "refused: below quality" in text
    assert "problem: no connection: nobody listens  5" in text
    assert "p50 250 ms" in text
    assert "4 waited at the end" in text


def test_the_readme_shows_the_command_and_its_flags(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["simulate", "--help"])
    help_text = capsys.readouterr().out
    readme = (ROOT / "clients/python/README.md").read_text()

    assert "constellation-settop simulate" in readme
    for flag in (
        "--devices",
        "--minutes",
        "--profile",
        "--vendor-keys",
        "--global-keys",
        "--processes",
        "--occasional",
        "--sync-every",
        "--json",
    ):
        assert flag in help_text
        assert flag in readme
