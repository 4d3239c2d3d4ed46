"""What a process's log never holds, wherever it goes."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

PASSWORD = "hunter2" * 3
CRASHING = """
import logging, sys, structlog
from constellation.telemetry.logs import set_up_logs

def crash(password):
    raise OSError("the store is away")

set_up_logs("info")
for log in (structlog.get_logger("ours"), logging.getLogger("theirs")):
    try:
        crash(sys.argv[1])
    except OSError:
        log.exception("crashed")
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A program that logs two tracebacks, one by structlog and one by logging."""
    path = tmp_path / "crashing.py"
    path.write_text(CRASHING)
    return path


def test_tracebacks_on_a_terminal_hold_no_values(script: Path) -> None:
    screen, terminal = os.openpty()
    with subprocess.Popen([sys.executable, script, PASSWORD], stderr=terminal) as process:
        os.close(terminal)
        output = _read_all(screen)
    os.close(screen)

    assert process.returncode == 0
    assert output.count("OSError") >= 2
    assert output.count("the store is away") >= 2
    assert "hunter2" not in output


def test_tracebacks_in_json_hold_no_values(script: Path) -> None:
    ended = subprocess.run(
        [sys.executable, script, PASSWORD], capture_output=True, text=True, check=True
    )

    assert ended.stderr.count('"exc_value": "the store is away"') == 2
    assert "hunter2" not in ended.stderr


def _read_all(screen: int) -> str:
    """Return all that is written to a terminal until nobody has it open any more."""
    parts: list[bytes] = []
    while True:
        try:
            part = os.read(screen, 1 << 16)
        except OSError:  # EIO: how Linux tells that the other end is closed
            part = b""
        if not part:
            return b"".join(parts).decode()
        parts.append(part)
