"""The exit codes of every command; docs/cli.md documents them."""

from __future__ import annotations

from typing import Final

SUCCESS: Final = 0
FAILURE: Final = 1
USAGE_ERROR: Final = 2
DEGRADED: Final = 3
"""`status`: everything answers, and something is degraded or accepts no traffic."""
INTERRUPTED: Final = 130
"""Ended by Ctrl-C. Shells use 128 plus the number of the signal, and SIGINT is 2."""
