"""The device's SQLite file, which keeps what must survive a restart."""
