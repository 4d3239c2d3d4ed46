-- Proofs of the terms, the hourly counts and the stored global state, which had none.

ALTER TABLE constellation.shard RENAME COLUMN content_digest TO catalogue_digest;
UPDATE constellation.shard SET catalogue_digest = NULL;
COMMENT ON COLUMN constellation.shard.catalogue_digest IS
  'Sum of 64-bit hashes of content items and terms. NULL, after a migration, until the next serve.';

ALTER TABLE constellation.shard ADD COLUMN count_digest bigint;
ALTER TABLE constellation.shard ALTER COLUMN count_digest SET DEFAULT 0;
COMMENT ON COLUMN constellation.shard.count_digest IS
  'Sum of 64-bit hashes of its hourly counts. NULL, after a migration, until the next commit.';

ALTER TABLE constellation.global ADD COLUMN digest bytea;
COMMENT ON COLUMN constellation.global.digest IS
  'Hash of payload and round. NULL when an earlier version of the program stored the row.';
