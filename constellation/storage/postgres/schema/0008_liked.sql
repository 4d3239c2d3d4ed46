-- What contributing devices liked: the counts behind related and popular content are sums of these.

CREATE TABLE constellation.liked (
  shard_id integer NOT NULL,
  slot bigint NOT NULL,
  contents bytea NOT NULL,
  PRIMARY KEY (shard_id, slot)
) PARTITION BY HASH (shard_id, slot);
COMMENT ON TABLE constellation.liked IS
  'The latest content items that each contributing device liked, by the row number of the device.';
COMMENT ON COLUMN constellation.liked.contents IS
  'Numbers of up to 128 terms, 4 bytes each, little-endian, the latest first, without zeros at the end.';

DO $$
BEGIN
  FOR part IN 0..7 LOOP
    EXECUTE format(
      'CREATE TABLE constellation.liked_%1$s PARTITION OF constellation.liked
         FOR VALUES WITH (MODULUS 8, REMAINDER %1$s)
         WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02,
               autovacuum_vacuum_insert_scale_factor = 0.1, autovacuum_analyze_scale_factor = 0.1)',
      part);
  END LOOP;
END
$$;

ALTER TABLE constellation.shard ADD COLUMN liked_digest bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN constellation.shard.liked_digest IS 'Sum of 64-bit hashes of its liked content.';
