-- The proof of the catalogue, which had none: a sum over the hashes of its content items.

ALTER TABLE constellation.shard ADD COLUMN content_digest bigint;
ALTER TABLE constellation.shard ALTER COLUMN content_digest SET DEFAULT 0;
COMMENT ON COLUMN constellation.shard.content_digest IS
  'Sum of 64-bit hashes of its content items. NULL, after a migration, until its next serve.';
