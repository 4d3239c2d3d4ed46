"""What surrounds every call: error statuses, counters and spans."""
