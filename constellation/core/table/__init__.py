"""The state of one shard in memory: patterns, devices, terms, hourly counts and the catalogue."""
