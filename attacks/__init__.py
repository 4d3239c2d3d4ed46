"""The attack suite: what others can learn of a household."""
