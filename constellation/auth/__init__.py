"""Who calls, and what a caller may do: roles, tokens and the keys that sign them."""
