"""The PostgreSQL store: typed columns, an epoch that fences stale writers, and a lease."""
