"""StoreIdentity: what a store belongs to, so that no other process writes or deletes in it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from constellation.encoding import DIMENSION
from constellation.errors import ConfigError


@dataclass(frozen=True, slots=True)
class StoreIdentity:
    """The shard that a store belongs to. What is None is not known yet."""

    shard_id: int | None = None
    region: str | None = None
    """Known once the shard has served: only `serve` needs REGION."""
    dimension: int | None = None

    @classmethod
    def of_process(cls, shard_id: int, region: str | None = None) -> StoreIdentity:
        """Return what a store must be to fit this process; any region fits None."""
        return cls(shard_id, region, DIMENSION)

    def adopt(self, process: StoreIdentity, location: str) -> StoreIdentity:
        """Return this identity with what the process knows besides.

        Raises ConfigError, which names every difference, when the store belongs to another process.
        A store of an earlier version knows nothing: it adopts the first process that opens it.
        """
        problems = [
            f"{location} belongs to {what} {stored}, {setting} is {wanted}"
            for what, stored, setting, wanted in (
                ("shard", self.shard_id, "SHARD_ID", process.shard_id),
                ("region", self.region, "REGION", process.region),
                ("dimension", self.dimension, "the dimension of this program", process.dimension),
            )
            if None not in (stored, wanted) and stored != wanted
        ]
        if problems:
            raise ConfigError(f"{'; '.join(problems)}: name the store of this shard, or correct it")
        return replace(
            self,
            shard_id=process.shard_id if self.shard_id is None else self.shard_id,
            region=process.region if self.region is None else self.region,
            dimension=process.dimension if self.dimension is None else self.dimension,
        )
