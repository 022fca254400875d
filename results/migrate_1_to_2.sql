-- migrate_1_to_2.sql -- which settings are for speed only, when attempts began and ended, what a sweep's command line
-- changed. All of it is in the journals and sweep files, which are therefore read again from their beginning.
ALTER TABLE config ADD COLUMN speed_only INTEGER NOT NULL DEFAULT 0 CHECK (speed_only IN (0, 1));
ALTER TABLE attempts ADD COLUMN started REAL;
ALTER TABLE attempts ADD COLUMN ended REAL;
ALTER TABLE sweeps ADD COLUMN title TEXT;
ALTER TABLE sweep_grids ADD COLUMN note TEXT;

CREATE VIEW run_times AS
SELECT run, sum(max(0.0, coalesce(ended, last_wall, started) - coalesce(started, first_wall))) AS seconds
FROM attempts GROUP BY run;

CREATE TABLE sweep_overrides (
    sweep      INTEGER NOT NULL REFERENCES sweeps ON DELETE CASCADE,
    n          INTEGER NOT NULL,
    assignment TEXT NOT NULL,
    speed_only INTEGER NOT NULL CHECK (speed_only IN (0, 1)),
    PRIMARY KEY (sweep, n)
) STRICT, WITHOUT ROWID;

UPDATE metric_names SET direction = 'max' WHERE name GLOB '*_per_s' OR name GLOB '*roof_fraction';
UPDATE metric_names SET direction = 'min'
WHERE direction IS NULL
  AND (name GLOB '*_ms' OR name GLOB '*_s' OR name GLOB '*_bytes' OR name GLOB '*wait_fraction');

UPDATE journals SET size = -1, last_crc = -1;
UPDATE sweeps SET hash = '';

PRAGMA user_version = 2;
