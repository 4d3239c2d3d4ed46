"""Protobuf messages to values of the core, and back."""
