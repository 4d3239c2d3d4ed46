"""What the `federation` command does, a module for each noun; each call returns a status."""
