"""The path of a delta into the shard: decode, plan, commit, acknowledge, count."""
