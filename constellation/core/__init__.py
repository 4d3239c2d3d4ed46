"""The knowledge and the decisions of a shard, without network and database."""
