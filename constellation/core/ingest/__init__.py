"""The path of a delta: decoded, planned, committed, counted."""
