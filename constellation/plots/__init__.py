"""Pictures of what a shard holds; everything here needs the extra `plot`."""
