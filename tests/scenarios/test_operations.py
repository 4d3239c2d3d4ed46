"""docs/operations.md, "All of it on one machine", typed into bash from top to bottom."""

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
)

if TYPE_CHECKING:
    from pathlib import Path

SECTION = re.compile(r"^## All of it on one machine$(.*?)^## ", re.MULTILINE | re.DOTALL)
TIMEOUT_SECONDS = 240


@pytest.mark.timeout(TIMEOUT_SECONDS + 30)
def test_everything_an_operator_is_told_to_type_works(tmp_path: Path) -> None:
    directory, addresses = tmp_path / "project", find_addresses()
    directory.mkdir()
    (section,) = SECTION.findall((ROOT / "docs" / "operations.md").read_text())
    path = make_programs(tmp_path / "programs", addresses)

    bash = run_in_bash(read_commands(section, addresses), directory, path, TIMEOUT_SECONDS)

    logs = "\n".join(log.read_text()[-2000:] for log in sorted(directory.glob("*.log")))
    assert bash.status == 0, bash.out[-6000:] + logs
    assert "2 of 2 shards answered: 200 devices, 200 streams" in bash.out
    assert "published\n  coverage  2 of 2 shards fresh; 200 of 200 devices (100%)" in bash.out
    assert bash.out.count("ok: ") == 2
    assert (directory / "trends.png").read_bytes().startswith(b"\x89PNG")
    assert (directory / "map.html").stat().st_size > 100_000
