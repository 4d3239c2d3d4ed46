"""The aggregate of a shard: the sums that it keeps for its federation."""
