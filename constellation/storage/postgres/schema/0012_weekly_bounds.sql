-- What a device contributed this week, which is bounded.

ALTER TABLE constellation.device
  ADD COLUMN week integer NOT NULL DEFAULT 0,
  ADD COLUMN week_patterns integer NOT NULL DEFAULT 0,
  ADD COLUMN week_signals integer NOT NULL DEFAULT 0,
  ADD COLUMN week_liked integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN constellation.device.week IS
  'The week of the counts that follow: weeks begin on Monday, week 0 on 5 January 1970.';
COMMENT ON COLUMN constellation.device.week_patterns IS 'New patterns that were stored in it.';
COMMENT ON COLUMN constellation.device.week_signals IS 'Signals that were taken in.';
COMMENT ON COLUMN constellation.device.week_liked IS
  'Content items that were added to what it liked.';
