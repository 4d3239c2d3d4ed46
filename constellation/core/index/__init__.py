"""The index of shared patterns, which can be searched while it changes."""
