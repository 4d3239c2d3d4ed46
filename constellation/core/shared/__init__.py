"""Shared patterns: the patterns of many devices, merged before anybody else may see them."""
