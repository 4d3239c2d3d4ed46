"""CommandError: the one error that a command raises when it cannot do its work."""

from __future__ import annotations

from constellation.cli.exit_codes import FAILURE


class CommandError(Exception):
    """A command failed. Its message is one line for people: what is wrong, and what to do."""

    def __init__(
        self, problem: str, exit_code: int = FAILURE, *, is_connection_error: bool = False
    ) -> None:
        super().__init__(problem)
        self.exit_code = exit_code
        self.is_connection_error = is_connection_error
        """True when no connection was made; False when the server answered with an error."""
