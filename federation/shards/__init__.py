"""The shards of a federation: pulled, remembered and published to."""
