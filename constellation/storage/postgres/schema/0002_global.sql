-- Hourly counts of genres beside those of contents; the last global that a shard was given.

ALTER TABLE constellation.hourly_count RENAME COLUMN content TO number;
ALTER TABLE constellation.hourly_count ADD COLUMN kind smallint NOT NULL DEFAULT 2;
ALTER TABLE constellation.hourly_count ALTER COLUMN kind DROP DEFAULT;
ALTER TABLE constellation.hourly_count
  DROP CONSTRAINT hourly_count_pkey,
  ADD PRIMARY KEY (shard_id, hour, kind, number);
COMMENT ON TABLE constellation.hourly_count IS
  'Distinct devices for each genre (kind 1) or content (kind 2) and hour since 1970, over 168 hours.';
COMMENT ON COLUMN constellation.hourly_count.number IS 'number of a word of that kind';

CREATE TABLE constellation.global (
  shard_id integer PRIMARY KEY,
  generation bigint NOT NULL,
  round_id bigint NOT NULL,
  payload bytea NOT NULL
);
ALTER TABLE constellation.global ALTER payload SET STORAGE EXTERNAL;
COMMENT ON TABLE constellation.global IS
  'The last global that the federation published to each shard. It is not part of an export.';
