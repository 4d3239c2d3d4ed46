"""Archives: the data of a shard as JSON Lines, the same text for every kind of store.

The first line names the format. Then come one line for each content item, one for each device with
its patterns, and one for each hourly count, each kind in ascending order. The last line says how
many of each there are. Slots, commits, the epoch and the key of the pseudonyms belong to the store
and are not part of an archive.
"""
