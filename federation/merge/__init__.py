"""The arithmetic of a round. Pure: no network, no clock, no storage."""
