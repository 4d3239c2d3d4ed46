-- What a shard belongs to: a process with another region or dimension is refused.

ALTER TABLE constellation.shard ADD COLUMN region text, ADD COLUMN dimension integer;
COMMENT ON COLUMN constellation.shard.region IS 'REGION of its first serve; NULL before that.';
COMMENT ON COLUMN constellation.shard.dimension IS 'Dimension of its embeddings.';
