"""Failing: what a command that cannot do its work tells people."""

from __future__ import annotations

from constellation.cli.exit_codes import FAILED


class CommandError(Exception):
    """The command cannot be done. The message is one line for people: what, and what to do."""

    def __init__(self, problem: str, status: int = FAILED, *, is_connection: bool = False) -> None:
        super().__init__(problem)
        self.status = status
        self.is_connection = is_connection
        """Nobody was reached; otherwise somebody said no."""
