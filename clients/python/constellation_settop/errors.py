"""The exceptions that the SDK raises, grouped by what the caller can do about them."""

from __future__ import annotations


class SettopError(Exception):
    """Base class of every exception that the SDK raises on purpose."""


class InvalidArgumentError(SettopError, ValueError):
    """An argument is wrong: fix the call. The message names the argument, its value and limit."""


class UnreachableError(SettopError):
    """No shard answered in time: wait. Nothing is lost, and the SDK keeps trying."""

    def __init__(self, message: str, delay_seconds: float | None = None) -> None:
        """Say why; `delay_seconds` is how long a shard asked to wait, None when it did not."""
        super().__init__(message)
        self.delay_seconds = delay_seconds
        """Seconds that a shard asked to wait before the next attempt; None when it did not ask."""


class CredentialError(SettopError):
    """The shard refuses the credential: get a new one and open the device again with it."""


class StorageError(SettopError):
    """The device's file cannot be opened or written.

    Free space on the disk, or end the other process that has the file open.
    """
