"""docs/tutorial.md: its files saved and its commands typed into bash from top to bottom."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.scenarios.documented_commands import (
    ROOT,
    find_addresses,
    make_programs,
    read_commands,
    run_in_bash,
    save_files,
)

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (ROOT / "docs" / "tutorial.md").read_text()
SHOWN_OUTPUT = re.compile(r"```text\n(.*?)```", re.DOTALL)
TIMEOUT_SECONDS = 60


@pytest.mark.timeout(TIMEOUT_SECONDS + 30)
def test_the_tutorial_ends_in_the_recommendations_that_it_shows(tmp_path: Path) -> None:
    directory, addresses = tmp_path / "project", find_addresses()
    directory.mkdir()
    saved = save_files(PAGE, directory, addresses)
    path = make_programs(tmp_path / "programs", addresses)

    bash = run_in_bash(read_commands(PAGE, addresses), directory, path, TIMEOUT_SECONDS)

    (shown,) = SHOWN_OUTPUT.findall(PAGE)
    log = (directory / "shard.log").read_text()[-2000:]
    assert saved == ["films.jsonl", "television.py"]
    assert bash.status == 0, bash.out[-6000:] + log
    assert shown in bash.out
