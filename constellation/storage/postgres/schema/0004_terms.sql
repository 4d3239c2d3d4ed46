-- Genres and content ids are terms: the table, a function, a view and comments get that name.

ALTER TABLE constellation.word RENAME TO term;
ALTER INDEX constellation.word_pkey RENAME TO term_pkey;
COMMENT ON TABLE constellation.term IS
  'Terms: genres (kind 1) and content ids (kind 2). Rows in other tables store their numbers.';

ALTER FUNCTION constellation.numbers_in(bytea, integer) RENAME TO unpack_numbers;
COMMENT ON FUNCTION constellation.unpack_numbers(bytea, integer) IS
  'Little-endian numbers of the given width in bytes, in their order, without zeros.';

CREATE OR REPLACE VIEW constellation.readable_pattern AS
SELECT
  pattern.shard_id, device.device_id, pattern.pattern_id, pattern.success_rate, pattern.sample_count,
  (ARRAY['any', 'morning', 'afternoon', 'evening', 'night'])[pattern.time_of_day + 1] AS time_of_day,
  (ARRAY['any', 'weekday', 'weekend'])[pattern.day_type + 1] AS day_type,
  (ARRAY['any', 'movie', 'episode', 'live', 'clip'])[pattern.content_type + 1] AS content_type,
  ARRAY(SELECT term.text FROM constellation.term WHERE term.shard_id = pattern.shard_id
    AND term.kind = 1 AND term.number = ANY (constellation.unpack_numbers(pattern.genres, 2))) AS genres,
  ARRAY(SELECT term.text FROM constellation.term WHERE term.shard_id = pattern.shard_id
    AND term.kind = 2 AND term.number = ANY (constellation.unpack_numbers(pattern.contents, 4))) AS content_ids,
  pattern.created_at, pattern.updated_at, pattern.embedding
FROM constellation.pattern
JOIN constellation.device ON device.shard_id = pattern.shard_id AND device.slot = pattern.device;
COMMENT ON VIEW constellation.readable_pattern IS
  'Patterns with their device and their terms, for people. Expensive: select one shard and a few rows.';

COMMENT ON COLUMN constellation.pattern.device IS 'Slot of the device that owns the pattern.';
COMMENT ON COLUMN constellation.pattern.genres IS
  'Numbers of 8 terms, 2 bytes each, little-endian; 0 means none.';
COMMENT ON COLUMN constellation.pattern.contents IS
  'Numbers of 16 terms, 4 bytes each, little-endian; 0 means none.';
COMMENT ON COLUMN constellation.hourly_count.number IS 'Number of a term of that kind.';
