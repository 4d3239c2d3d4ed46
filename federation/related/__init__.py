"""Related and popular content: what shards count of liked content, solved for devices. Pure."""
