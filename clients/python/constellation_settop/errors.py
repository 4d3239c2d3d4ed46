"""Everything the SDK raises, grouped by what the caller can do about it."""

from __future__ import annotations


class SettopError(Exception):
    """Something the caller can act on."""


class InvalidArgumentError(SettopError, ValueError):
    """Fix the call: an argument is wrong."""


class UnreachableError(SettopError):
    """Wait: no shard could be reached in time. Nothing is lost; the SDK goes on trying."""


class CredentialError(SettopError):
    """Get a new credential: the shard refuses this one."""


class StorageError(SettopError):
    """Make room on the disk, or close the other process that holds this device's file."""
