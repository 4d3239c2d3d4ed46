"""docs/security.md: its commands typed into bash from top to bottom."""

from __future__ import annotations

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

PAGE = (ROOT / "docs" / "security.md").read_text()
TIMEOUT_SECONDS = 60


@pytest.mark.timeout(TIMEOUT_SECONDS + 30)
def test_the_page_secures_a_shard(tmp_path: Path) -> None:
    directory, addresses = tmp_path / "project", find_addresses()
    directory.mkdir()
    path = make_programs(tmp_path / "programs", addresses)

    bash = run_in_bash(read_commands(PAGE, addresses), directory, path, TIMEOUT_SECONDS)

    assert bash.status == 0, bash.out[-6000:]
    assert "no trends yet" in bash.out
    assert "ListDevices needs the role operator; this token has viewer" in bash.out
