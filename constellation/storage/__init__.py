"""One module for each kind of store."""
