"""Conversions between protobuf messages and the values of the core; they check what comes in."""
