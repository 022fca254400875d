-- schema.sql, version 2. Fed from the journals and sweep files; every number in a table or a plot comes from here.
-- A change is a new migrate_N_to_M.sql and the same here (its columns last, as ALTER TABLE adds them). All values are bound.
PRAGMA user_version = 2;

CREATE TABLE runs (
    id        INTEGER PRIMARY KEY,    -- the number that `list` shows; local to this file
    identity  TEXT NOT NULL UNIQUE,   -- hash of config, data and the runs it builds on
    folder    TEXT NOT NULL,          -- absolute path where its journal was found
    protocol  TEXT NOT NULL,          -- 'pretrain', 'probe', ...
    seed      INTEGER,
    status    TEXT NOT NULL CHECK (status IN ('running', 'done', 'failed', 'diverged', 'interrupted', 'unknown')),
    message   TEXT,                   -- how the last attempt ended, in words
    last_step INTEGER,
    damage    TEXT                    -- why its journal could not be read to the end
) STRICT;

CREATE TABLE run_parents (            -- by identity: a parent may be ingested later, or never
    run    INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    n      INTEGER NOT NULL,
    parent TEXT NOT NULL,
    PRIMARY KEY (run, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE attempts (               -- one process each; where the host and the clock are kept, apart from the numbers
    run        INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    attempt    INTEGER NOT NULL,      -- counted from 1
    host       TEXT,
    boot_id    TEXT,
    pid        INTEGER,
    start_time TEXT,
    revision   TEXT,                  -- source commit, "-dirty" if the tree was modified
    first_step INTEGER NOT NULL,      -- steps finished when it began
    last_step  INTEGER,
    valid_to   INTEGER,               -- its rows after this step are superseded by a later attempt; NULL: none are
    status     TEXT,                  -- how it ended; NULL: no end was recorded
    message    TEXT,
    first_wall REAL,                  -- seconds since 1970 of its first and last metric
    last_wall  REAL,
    started    REAL,                  -- seconds since 1970 when it began, and when it recorded its end
    ended      REAL,
    PRIMARY KEY (run, attempt)
) STRICT, WITHOUT ROWID;

-- How long each run took: of an attempt that recorded no end, what it measured last.
CREATE VIEW run_times AS
SELECT run, sum(max(0.0, coalesce(ended, last_wall, started) - coalesce(started, first_wall))) AS seconds
FROM attempts GROUP BY run;

CREATE TABLE machine_facts (
    run     INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    attempt INTEGER NOT NULL,
    name    TEXT NOT NULL,
    value   TEXT NOT NULL,
    PRIMARY KEY (run, attempt, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE config (                 -- fully resolved: enough to repeat the run
    run   INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    key   TEXT NOT NULL,
    value TEXT NOT NULL,
    speed_only INTEGER NOT NULL DEFAULT 0 CHECK (speed_only IN (0, 1)), -- threads, paths: does not change the numbers
    PRIMARY KEY (run, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE fingerprints (
    run   INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    name  TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (run, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE skipped_samples (        -- once each, however many epochs or attempts met them
    run     INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    dataset TEXT NOT NULL,
    sample  TEXT NOT NULL,
    reason  TEXT NOT NULL,
    PRIMARY KEY (run, dataset, sample)
) STRICT, WITHOUT ROWID;

CREATE TABLE artefacts (
    run     INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    path    TEXT NOT NULL,            -- relative to the run's folder
    kind    TEXT NOT NULL,            -- 'checkpoint', 'picture', ...
    sha256  TEXT,
    bytes   INTEGER,
    attempt INTEGER NOT NULL,
    PRIMARY KEY (run, path)
) STRICT, WITHOUT ROWID;

CREATE TABLE metric_names (           -- once each: a quarter of the file saved
    id        INTEGER PRIMARY KEY,
    name      TEXT NOT NULL UNIQUE,
    direction TEXT CHECK (direction IN ('min', 'max')), -- which end is better; NULL: neither
    timing    INTEGER NOT NULL CHECK (timing IN (0, 1)) -- depends on clock or machine: left out of canonical dumps
) STRICT;

CREATE TABLE metrics (                -- long form: a new metric needs no new column
    run     INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    metric  INTEGER NOT NULL REFERENCES metric_names,
    step    INTEGER NOT NULL,         -- steps (or epochs) finished when it was measured
    attempt INTEGER NOT NULL,
    value   REAL,                     -- finite, or NULL
    special INTEGER NOT NULL CHECK (special BETWEEN 0 AND 3), -- 0 finite, 1 not a number, 2 +infinity, 3 -infinity
    PRIMARY KEY (run, metric, step, attempt),
    CHECK ((special = 0) = (value IS NOT NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE step_times (             -- when a step was logged: display only
    run     INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    step    INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    wall    REAL NOT NULL,            -- seconds since 1970
    PRIMARY KEY (run, step, attempt)
) STRICT, WITHOUT ROWID;

-- The rows that count: without those that a later attempt took back or wrote again.
CREATE VIEW current_metrics AS
SELECT m.run, m.metric, m.step, m.attempt, m.value, m.special
FROM metrics AS m JOIN attempts AS a ON a.run = m.run AND a.attempt = m.attempt
WHERE a.valid_to IS NULL
   OR (m.step <= a.valid_to
       AND NOT EXISTS (SELECT 1 FROM metrics AS later
                       JOIN attempts AS b ON b.run = later.run AND b.attempt = later.attempt
                       WHERE later.run = m.run AND later.metric = m.metric AND later.step = m.step
                         AND later.attempt > m.attempt AND (b.valid_to IS NULL OR later.step <= b.valid_to)));

-- The same with names, for people.
CREATE VIEW metric_values AS
SELECT r.id AS run, r.identity, r.protocol, n.name AS metric, c.step, c.value,
       CASE c.special WHEN 0 THEN NULL WHEN 1 THEN 'nan' WHEN 2 THEN 'inf' ELSE '-inf' END AS special
FROM current_metrics AS c JOIN runs AS r ON r.id = c.run JOIN metric_names AS n ON n.id = c.metric;

CREATE TABLE summaries (              -- over current rows
    run          INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    metric       INTEGER NOT NULL REFERENCES metric_names,
    count        INTEGER NOT NULL,
    last         REAL,                -- value at the last step
    last_special INTEGER NOT NULL,
    last_step    INTEGER NOT NULL,
    best         REAL,                -- of the finite ones; NULL where neither end is better
    best_step    INTEGER,             -- the first step that had it
    PRIMARY KEY (run, metric)
) STRICT, WITHOUT ROWID;

CREATE TABLE journals (               -- how far each journal has been read
    run         INTEGER PRIMARY KEY REFERENCES runs ON DELETE CASCADE,
    size        INTEGER NOT NULL,     -- of the file when it was last looked at
    mtime_ns    INTEGER NOT NULL,
    offset      INTEGER NOT NULL,     -- end of the last record taken over
    last_record INTEGER NOT NULL,     -- where that record begins, and its checksum: is it still the same file?
    last_crc    INTEGER NOT NULL
) STRICT;

CREATE TABLE journal_names (          -- name ids of each journal
    run    INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    id     INTEGER NOT NULL,
    metric INTEGER NOT NULL REFERENCES metric_names,
    PRIMARY KEY (run, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE sweeps (
    id       INTEGER PRIMARY KEY,
    name     TEXT NOT NULL,           -- 'table3'
    scale    TEXT NOT NULL,           -- 'demo', 'small', 'paper'; 'demo+1f3a' where the command line changed it
    config   TEXT NOT NULL,
    data     TEXT NOT NULL,           -- in words, for headings
    revision TEXT NOT NULL,
    hash     TEXT NOT NULL,           -- of the file it came from
    title    TEXT,
    UNIQUE (name, scale)
) STRICT;

CREATE TABLE sweep_overrides (        -- what the command line changed: "train.epochs=5", "probe:probe.epochs=5"
    sweep      INTEGER NOT NULL REFERENCES sweeps ON DELETE CASCADE,
    n          INTEGER NOT NULL,
    assignment TEXT NOT NULL,
    speed_only INTEGER NOT NULL CHECK (speed_only IN (0, 1)), -- data_root, threads: the numbers stay those of the scale
    PRIMARY KEY (sweep, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE sweep_grids (
    sweep INTEGER NOT NULL REFERENCES sweeps ON DELETE CASCADE,
    grid  INTEGER NOT NULL,           -- counted from 0, in file order
    name  TEXT NOT NULL,
    title TEXT NOT NULL,
    paper TEXT,                       -- the paper's table: 'table3a'
    axis  TEXT NOT NULL,              -- heading of the row labels
    stage TEXT NOT NULL,              -- the stage whose numbers fill the table
    note  TEXT,                       -- a line below the table
    PRIMARY KEY (sweep, grid),
    UNIQUE (sweep, name)
) STRICT;

CREATE TABLE sweep_metrics (
    sweep        INTEGER NOT NULL,
    grid         INTEGER NOT NULL,
    n            INTEGER NOT NULL,
    metric       TEXT NOT NULL,
    paper_column TEXT,
    label        TEXT NOT NULL,
    PRIMARY KEY (sweep, grid, n),
    FOREIGN KEY (sweep, grid) REFERENCES sweep_grids ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE sweep_rows (
    sweep     INTEGER NOT NULL,
    grid      INTEGER NOT NULL,
    row       INTEGER NOT NULL,
    label     TEXT NOT NULL,
    paper_row INTEGER,
    PRIMARY KEY (sweep, grid, row),
    FOREIGN KEY (sweep, grid) REFERENCES sweep_grids ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE sweep_cells (            -- the run of each stage of each seed
    sweep    INTEGER NOT NULL,
    grid     INTEGER NOT NULL,
    row      INTEGER NOT NULL,
    seed     INTEGER NOT NULL,
    stage    TEXT NOT NULL,
    n        INTEGER NOT NULL,        -- order of the stages
    identity TEXT NOT NULL,           -- of a run that may not have started
    PRIMARY KEY (sweep, grid, row, seed, stage),
    FOREIGN KEY (sweep, grid, row) REFERENCES sweep_rows ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX sweep_cells_by_identity ON sweep_cells (identity);

CREATE TABLE paper (                  -- the numbers that the paper prints
    tbl       TEXT NOT NULL,          -- 'table3a'
    row       INTEGER NOT NULL,       -- counted from 1, in print order
    col       TEXT NOT NULL,
    text      TEXT NOT NULL,          -- as printed
    value     REAL,                   -- NULL for words
    unit      TEXT,                   -- '%': our fractions times 100
    tolerance REAL,                   -- half a unit of the last digit printed
    source    TEXT NOT NULL,
    PRIMARY KEY (tbl, row, col)
) STRICT, WITHOUT ROWID;
