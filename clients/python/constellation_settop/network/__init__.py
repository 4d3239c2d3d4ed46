"""Exchanging deltas and global updates with a shard."""
