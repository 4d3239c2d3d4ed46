"""Keeping a device and its shard in step."""
