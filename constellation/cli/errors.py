"""Failing: what a command that cannot do its work tells people."""

from __future__ import annotations

from constellation.cli.exit_codes import FAILURE


class CommandError(Exception):
    """The command cannot be done. The message is one line for people: what, and what to do."""

    def __init__(
        self, problem: str, exit_code: int = FAILURE, *, is_connection_error: bool = False
    ) -> None:
        super().__init__(problem)
        self.exit_code = exit_code
        self.is_connection_error = is_connection_error
        """Nobody was reached; otherwise somebody said no."""
