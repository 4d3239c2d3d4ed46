"""The values and the arithmetic that shards and federations share."""
