-- Which patterns are merged into shared patterns, and what was published of them.

CREATE TABLE constellation.grouping (
  shard_id integer NOT NULL,
  slot bigint NOT NULL,
  row bytea NOT NULL,
  PRIMARY KEY (shard_id, slot)
) PARTITION BY HASH (shard_id, slot);
COMMENT ON TABLE constellation.grouping IS
  'Groups of patterns, of which only their merged pattern is shown to other devices.';
COMMENT ON COLUMN constellation.grouping.slot IS
  '2 g for group g, 2 b + 1 for the stale patterns among the slots from 4096 b on.';
COMMENT ON COLUMN constellation.grouping.row IS
  'A group: its published row of 512 bytes, then its members. Stale patterns: 8 bytes for each.';

DO $$
BEGIN
  FOR part IN 0..7 LOOP
    EXECUTE format(
      'CREATE TABLE constellation.grouping_%1$s PARTITION OF constellation.grouping
         FOR VALUES WITH (MODULUS 8, REMAINDER %1$s)
         WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02,
               autovacuum_vacuum_insert_scale_factor = 0.1, autovacuum_analyze_scale_factor = 0.1)',
      part);
  END LOOP;
END
$$;

ALTER TABLE constellation.shard ADD COLUMN group_digest bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN constellation.shard.group_digest IS 'Sum of 64-bit hashes of its grouping.';

DROP TABLE constellation.change;
