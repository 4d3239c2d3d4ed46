"""Exit statuses of every command."""

from __future__ import annotations

from typing import Final

SUCCESS: Final = 0
FAILURE: Final = 1
USAGE_ERROR: Final = 2
INTERRUPTED: Final = 130
"""By Ctrl-C, as shells count: 128 and the number of SIGINT."""
