"""Tests mirror the tree; what several of them need stands here."""
