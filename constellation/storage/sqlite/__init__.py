"""The SQLite store: one file, one writer thread, one process at a time."""
