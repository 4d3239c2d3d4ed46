"""The attack suite: what strangers, accomplices, shards and federations can learn of a household."""
