"""Every error raised on purpose; transport/calls/status.py maps each to a gRPC status."""

from __future__ import annotations


class ConstellationError(Exception):
    """An error that a caller or an operator can act on."""


class InvalidInputError(ConstellationError):
    """A field of a request is wrong."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field
        self.problem = problem


class OutOfOrderError(ConstellationError):
    """A frame arrived out of order, such as a delta before Hello or a second Hello."""


class UnauthenticatedError(ConstellationError):
    """The caller's credential is missing or wrong."""


class PermissionDeniedError(ConstellationError):
    """The caller is known, but may not do this."""


class NotFoundError(ConstellationError):
    """This shard or federation does not have what the request names."""


class NotOwnerError(ConstellationError):
    """Another shard owns this device."""

    def __init__(self, shard_id: int, address: str) -> None:
        super().__init__(f"this device belongs to shard {shard_id} at {address}")
        self.shard_id = shard_id
        self.address = address


class SupersededError(ConstellationError):
    """A newer stream of the same device is open."""


class ShardFullError(ConstellationError):
    """The shard has no room for another device or another stream."""


class TooManyCallsError(ConstellationError):
    """The caller, or all callers of one method together, have as many calls as they may."""


class OriginLimitError(ConstellationError):
    """Devices of one production lot, or at one address, have as much as they may together."""


class TooManyInflightError(ConstellationError):
    """The device sent more unacknowledged deltas than it may."""


class SlowReaderError(ConstellationError):
    """For too long, the device has not read what was sent to it."""


class HelloTimeoutError(ConstellationError):
    """The device opened a stream, but did not send Hello in time."""


class QuorumError(ConstellationError):
    """Too few shards answered for a round to be published."""


class WrongRoleError(ConstellationError):
    """A federation was asked for something that only a relay does, or only a federation above."""


class NotReadyError(ConstellationError):
    """The shard cannot serve this now: it starts, drains, or its store is unavailable."""


class FencedError(ConstellationError):
    """Another process has taken over this shard."""


class ConfigError(ConstellationError):
    """The configuration is wrong; the message names every wrong variable."""


class StoreInUseError(ConstellationError):
    """Another process uses the data directory."""


class DamagedStoreError(ConstellationError):
    """Stored data is damaged and must not be served."""


class StoreFailedError(ConstellationError):
    """A write failed so that the store cannot be trusted any more; the process must end."""


class OutcomeUnknownError(ConstellationError):
    """The answer to a write was lost: either all of it is durable, or none of it."""
