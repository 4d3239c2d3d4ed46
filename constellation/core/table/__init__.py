"""A shard's state in memory: patterns, devices, terms, hourly counts, genres of the catalogue."""
