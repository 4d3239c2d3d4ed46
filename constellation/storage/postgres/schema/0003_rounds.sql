-- The journal of a federation: its rounds, and what the next one builds on. Shards do not use it.

CREATE TABLE constellation.federation (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  generation bigint NOT NULL
);
COMMENT ON TABLE constellation.federation IS
  'One row, made by the first federation that runs here. The active one holds an advisory lock.';
COMMENT ON COLUMN constellation.federation.generation IS
  'When the journal was made: milliseconds since 1970.';

CREATE TABLE constellation.round (
  round_id bigint PRIMARY KEY,
  started_at timestamptz NOT NULL,
  state smallint NOT NULL CHECK (state BETWEEN 1 AND 4),
  summary bytea NOT NULL
);
COMMENT ON TABLE constellation.round IS 'The newest 1,000 rounds.';
COMMENT ON COLUMN constellation.round.state IS
  '1 pulling, 2 publishing, 3 published, 4 no quorum: numbers of constellation.v1.RoundState';
COMMENT ON COLUMN constellation.round.summary IS 'constellation.v1.Round, serialised';

CREATE TABLE constellation.round_result (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  round_id bigint NOT NULL,
  result bytea NOT NULL,
  memory bytea NOT NULL
);
ALTER TABLE constellation.round_result
  ALTER result SET STORAGE EXTERNAL, ALTER memory SET STORAGE EXTERNAL;
COMMENT ON TABLE constellation.round_result IS
  'One row: what the newest round that had a quorum published, and what the next one builds on.';
COMMENT ON COLUMN constellation.round_result.result IS 'constellation.v1.Global, serialised';

CREATE TABLE constellation.round_aggregate (
  shard_id bigint PRIMARY KEY,
  payload bytea NOT NULL
);
ALTER TABLE constellation.round_aggregate ALTER payload SET STORAGE EXTERNAL;
COMMENT ON TABLE constellation.round_aggregate IS
  'The newest aggregate of each shard that a round used.';
