"""A simulator: many light devices in one process, on the real protocol, for one simulated day."""
