"""What a shard knows and decides: no wire, no database."""
