"""The stores of a shard: in memory, in SQLite, in PostgreSQL; and its index snapshots."""
