"""Exit statuses of every command."""

from __future__ import annotations

from typing import Final

DONE: Final = 0
FAILED: Final = 1
ASKED_WRONGLY: Final = 2
INTERRUPTED: Final = 130
"""By Ctrl-C, as shells count: 128 and the number of SIGINT."""
