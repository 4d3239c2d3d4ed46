-- Where a device comes from and for how long it is known: new devices count for nothing others see.

ALTER TABLE constellation.device
  ADD COLUMN lot bigint NOT NULL DEFAULT 0,
  ADD COLUMN network bigint NOT NULL DEFAULT 0,
  ADD COLUMN first_day integer NOT NULL DEFAULT 0,
  ADD COLUMN active_day integer NOT NULL DEFAULT 0,
  ADD COLUMN active_days smallint NOT NULL DEFAULT 0,
  ADD COLUMN attested smallint NOT NULL DEFAULT 0,
  ADD COLUMN quarantined smallint NOT NULL DEFAULT 0;
COMMENT ON COLUMN constellation.device.lot IS 'Keyed hash of its production lot; 0 when unknown.';
COMMENT ON COLUMN constellation.device.network IS
  'Keyed hash of the /24 or /48 from which it first synced; 0 when unknown.';
COMMENT ON COLUMN constellation.device.first_day IS
  'The day of its first sync, since 1970; 0: before this was recorded, so it counts at once.';
COMMENT ON COLUMN constellation.device.active_day IS 'The last day with an accepted change.';
COMMENT ON COLUMN constellation.device.active_days IS 'Days with an accepted change, at most 255.';
COMMENT ON COLUMN constellation.device.attested IS '1 when its token named its lot.';
COMMENT ON COLUMN constellation.device.quarantined IS
  '1 when an operator took it out of all that other devices see.';
