"""SyncService: one session per stream, and the unary methods."""
