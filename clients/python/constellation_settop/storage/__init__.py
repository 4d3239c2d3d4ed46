"""What a device must not lose, in one SQLite file."""
