"""Archives: a shard as JSON Lines, the same text whatever store it came from.

One line for each content, then for each device with its patterns, then for each hourly count, each
kind in ascending order; a first line names the format, a last one says how many there were. Slots,
commits, the epoch and the key of the pseudonyms belong to a store and are not in it.
"""
