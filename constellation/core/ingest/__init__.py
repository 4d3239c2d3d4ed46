"""The path of a delta: queue, check the cursor, decode, plan, commit, apply, acknowledge, count."""
