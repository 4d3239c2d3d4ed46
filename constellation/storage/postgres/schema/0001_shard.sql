-- What one or several shards store. The type of embeddings is the vector extension's.

CREATE TABLE constellation.shard (
  shard_id integer PRIMARY KEY,
  epoch bigint NOT NULL DEFAULT 0,
  owner text NOT NULL DEFAULT '',
  lease_until timestamptz NOT NULL DEFAULT '-infinity',
  lsn bigint NOT NULL DEFAULT 0,
  patterns bigint NOT NULL DEFAULT 0,
  devices bigint NOT NULL DEFAULT 0,
  pattern_digest bigint NOT NULL DEFAULT 0,
  device_digest bigint NOT NULL DEFAULT 0,
  secret bytea NOT NULL
) WITH (fillfactor = 20);
COMMENT ON TABLE constellation.shard IS
  'One row for each shard: who may write it (epoch, owner, lease) and what its last commit left.';
COMMENT ON COLUMN constellation.shard.secret IS
  'Key of the pseudonyms that devices see. Whoever reads it can link them.';

CREATE TABLE constellation.pattern (
  shard_id integer NOT NULL,
  device integer NOT NULL,
  slot bigint NOT NULL,
  lsn bigint NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  success_rate real NOT NULL,
  sample_count integer NOT NULL,
  time_of_day smallint NOT NULL,
  day_type smallint NOT NULL,
  content_type smallint NOT NULL,
  pattern_id uuid NOT NULL,
  genres bytea NOT NULL,
  contents bytea NOT NULL,
  embedding {vector} NOT NULL,
  PRIMARY KEY (shard_id, slot)
) PARTITION BY HASH (shard_id, slot);
COMMENT ON TABLE constellation.pattern IS
  'Patterns by row number (slot). constellation.readable_pattern is easier to read.';
COMMENT ON COLUMN constellation.pattern.device IS 'slot of its device';
COMMENT ON COLUMN constellation.pattern.genres IS 'numbers of 8 words, 2 bytes each, little-endian; 0 is none';
COMMENT ON COLUMN constellation.pattern.contents IS 'numbers of 16 words, 4 bytes each, likewise';
COMMENT ON COLUMN constellation.pattern.embedding IS
  'INT8 codes as whole numbers: not of unit length, so compare by cosine (<=>)';

CREATE TABLE constellation.device (
  shard_id integer NOT NULL,
  signal_hour integer NOT NULL,
  slot bigint NOT NULL,
  incarnation bigint NOT NULL,
  seq bigint NOT NULL,
  synced_at timestamptz NOT NULL,
  device_id uuid NOT NULL,
  signal_contents bytea NOT NULL,
  PRIMARY KEY (shard_id, slot)
) PARTITION BY HASH (shard_id, slot);
COMMENT ON TABLE constellation.device IS
  'Devices and their cursors (incarnation, seq), by row number (slot).';

-- Room on each page (for one pattern, for many devices) lets an update stay there and touch no index
-- (HOT); early, frequent vacuums keep
-- the tables their size. Eight partitions let eight of them run at once, each over an eighth.
DO $$
BEGIN
  FOR part IN 0..7 LOOP
    EXECUTE format(
      'CREATE TABLE constellation.pattern_%1$s PARTITION OF constellation.pattern
         FOR VALUES WITH (MODULUS 8, REMAINDER %1$s)
         WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02,
               autovacuum_vacuum_insert_scale_factor = 0.1, autovacuum_analyze_scale_factor = 0.1)',
      part);
    EXECUTE format('ALTER TABLE constellation.pattern_%s ALTER embedding SET STORAGE PLAIN', part);
    EXECUTE format(
      'CREATE TABLE constellation.device_%1$s PARTITION OF constellation.device
         FOR VALUES WITH (MODULUS 8, REMAINDER %1$s)
         WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05,
               autovacuum_vacuum_insert_scale_factor = 0.1, autovacuum_analyze_scale_factor = 0.1)',
      part);
  END LOOP;
END
$$;

CREATE TABLE constellation.word (
  shard_id integer NOT NULL,
  number integer NOT NULL,
  kind smallint NOT NULL,
  text text COLLATE "C" NOT NULL,
  PRIMARY KEY (shard_id, kind, number)
);
COMMENT ON TABLE constellation.word IS
  'Genres (kind 1) and content ids (kind 2), and the numbers that rows hold in their place.';

CREATE TABLE constellation.hourly_count (
  shard_id integer NOT NULL,
  content integer NOT NULL,
  hour bigint NOT NULL,
  devices bigint NOT NULL,
  PRIMARY KEY (shard_id, hour, content)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
COMMENT ON TABLE constellation.hourly_count IS
  'Distinct devices for each content (number of a word) and hour since 1970, over 168 hours.';

CREATE TABLE constellation.content (
  shard_id integer NOT NULL,
  content_type integer NOT NULL,
  year bigint NOT NULL,
  content_id text COLLATE "C" NOT NULL,
  title text NOT NULL,
  genres text[] NOT NULL,
  embedding {vector} NOT NULL,
  PRIMARY KEY (shard_id, content_id)
);
COMMENT ON TABLE constellation.content IS 'The catalogue.';

CREATE TABLE constellation.change (
  shard_id integer NOT NULL,
  lsn bigint NOT NULL,
  slots bytea NOT NULL,
  PRIMARY KEY (shard_id, lsn)
) WITH (autovacuum_vacuum_scale_factor = 0.05);
COMMENT ON TABLE constellation.change IS
  'Pattern slots that each commit since the last index snapshot changed: int64, little-endian.';

CREATE FUNCTION constellation.numbers_in(packed bytea, width integer) RETURNS integer[]
  LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN ARRAY(
  SELECT number FROM (
    SELECT at, sum(get_byte(packed, at * width + byte)::bigint << (8 * byte))::integer AS number
    FROM generate_series(0, length(packed) / width - 1) AS at, generate_series(0, width - 1) AS byte
    GROUP BY at
  ) AS found
  WHERE number <> 0 ORDER BY at
);

CREATE VIEW constellation.readable_pattern AS
SELECT
  pattern.shard_id, device.device_id, pattern.pattern_id, pattern.success_rate, pattern.sample_count,
  (ARRAY['any', 'morning', 'afternoon', 'evening', 'night'])[pattern.time_of_day + 1] AS time_of_day,
  (ARRAY['any', 'weekday', 'weekend'])[pattern.day_type + 1] AS day_type,
  (ARRAY['any', 'movie', 'episode', 'live', 'clip'])[pattern.content_type + 1] AS content_type,
  ARRAY(SELECT word.text FROM constellation.word WHERE word.shard_id = pattern.shard_id
    AND word.kind = 1 AND word.number = ANY (constellation.numbers_in(pattern.genres, 2))) AS genres,
  ARRAY(SELECT word.text FROM constellation.word WHERE word.shard_id = pattern.shard_id
    AND word.kind = 2 AND word.number = ANY (constellation.numbers_in(pattern.contents, 4))) AS content_ids,
  pattern.created_at, pattern.updated_at, pattern.embedding
FROM constellation.pattern
JOIN constellation.device ON device.shard_id = pattern.shard_id AND device.slot = pattern.device;
COMMENT ON VIEW constellation.readable_pattern IS
  'Patterns with their device and their words, for people. Reads much: name a shard and a few rows.';
