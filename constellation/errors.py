"""Everything raised on purpose. transport/status.py gives each its gRPC status."""

from __future__ import annotations


class ConstellationError(Exception):
    """Something a caller or an operator can act on."""


class InvalidInputError(ConstellationError):
    """A field of a request is wrong."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field
        self.problem = problem


class OutOfOrderError(ConstellationError):
    """A frame came where the protocol does not allow it: a delta before Hello, a second Hello."""


class UnauthenticatedError(ConstellationError):
    """The caller's credential is missing or wrong."""


class NotFoundError(ConstellationError):
    """There is no such thing here."""


class NotOwnerError(ConstellationError):
    """Another shard owns this device."""

    def __init__(self, shard_id: int, address: str) -> None:
        super().__init__(f"this device belongs to shard {shard_id} at {address}")
        self.shard_id = shard_id
        self.address = address


class SupersededError(ConstellationError):
    """A newer stream of the same device is open."""


class ShardFullError(ConstellationError):
    """The shard takes no new devices, or no more streams."""


class TooManyInflightError(ConstellationError):
    """The device sent more deltas than it may have unacked."""


class SlowReaderError(ConstellationError):
    """The device has not read what was sent to it for too long."""


class HelloTimeoutError(ConstellationError):
    """No Hello came in time."""


class QuorumError(ConstellationError):
    """Too few shards were heard for a round."""


class NotReadyError(ConstellationError):
    """The shard cannot serve this now: starting, draining, or its store is away."""


class FencedError(ConstellationError):
    """Another process has taken this shard over."""


class ConfigError(ConstellationError):
    """The environment's variables are wrong; the message names all that are."""


class StoreInUseError(ConstellationError):
    """Another process holds the data directory."""


class DamagedStoreError(ConstellationError):
    """Stored data is damaged in a way that must not be served."""


class StoreFailedError(ConstellationError):
    """A write failed in a way after which the store cannot be trusted; the process must end."""


class OutcomeUnknownError(ConstellationError):
    """A write was sent and its answer lost: it is durable, or nothing of it is."""
