"""The sums that a shard keeps for its federation."""
