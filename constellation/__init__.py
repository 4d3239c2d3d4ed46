"""Constellation: the shard that lets televisions learn from each other."""
