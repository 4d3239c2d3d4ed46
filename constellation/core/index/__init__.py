"""The patterns that may be shown to other devices, searchable while they change."""
