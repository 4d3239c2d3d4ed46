-- What a federation in the differentially private mode has spent. Written together with the result.

CREATE TABLE constellation.privacy_ledger (
  mechanism text NOT NULL,
  data_epoch bigint NOT NULL,
  week integer NOT NULL,
  units bigint NOT NULL CHECK (units > 0),
  scale double precision NOT NULL,
  norm_squared bigint NOT NULL,
  round_id bigint NOT NULL,
  spent_at double precision NOT NULL,
  PRIMARY KEY (mechanism, data_epoch)
);
COMMENT ON TABLE constellation.privacy_ledger IS
  'One row for each release with noise of the last 53 weeks: the same data is never released twice.';
COMMENT ON COLUMN constellation.privacy_ledger.data_epoch IS
  'The hour since 1970 of hourly counts, else the week.';
COMMENT ON COLUMN constellation.privacy_ledger.week IS
  'Weeks since Monday, 5 January 1970, 0:00 UTC.';
COMMENT ON COLUMN constellation.privacy_ledger.units IS 'The rho of zCDP, times 2^40.';
COMMENT ON COLUMN constellation.privacy_ledger.scale IS 'The standard deviation of the noise.';
COMMENT ON COLUMN constellation.privacy_ledger.spent_at IS 'Seconds since 1970.';
