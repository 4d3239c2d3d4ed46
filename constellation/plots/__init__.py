"""Plots of a shard's patterns and trends; every module here needs the extra `plot`."""
