-- Clients know a run by its number among those of its printer: from 1, in the order of starts, never given again.
ALTER TABLE runs ADD COLUMN ordinal INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN extruding_s REAL; -- null: nobody counted
ALTER TABLE runs ADD COLUMN job TEXT NOT NULL DEFAULT ''; -- the queued job that it was started for
UPDATE runs SET ordinal = numbered.ordinal
FROM (SELECT number, row_number() OVER (PARTITION BY printer ORDER BY number) AS ordinal FROM runs) AS numbered
WHERE numbered.number = runs.number;
CREATE UNIQUE INDEX runs_by_ordinal ON runs (printer, ordinal);
CREATE INDEX runs_by_end ON runs (printer, ended_at);
CREATE INDEX runs_of_job ON runs (job) WHERE job <> '';

CREATE TABLE totals ( -- of the runs that ended since they were reset; deleted ones still count
    printer           TEXT PRIMARY KEY,
    last_ordinal      INTEGER NOT NULL,
    runs              INTEGER NOT NULL DEFAULT 0,
    elapsed_s         REAL NOT NULL DEFAULT 0.0,
    drawing_s         REAL NOT NULL DEFAULT 0.0,
    filament_mm       REAL NOT NULL DEFAULT 0.0,
    longest_s         REAL NOT NULL DEFAULT 0.0,
    longest_drawing_s REAL NOT NULL DEFAULT 0.0
) STRICT;
INSERT INTO totals
SELECT
    printer,
    max(ordinal),
    count(ended_at),
    coalesce(sum(elapsed_s) FILTER (WHERE ended_at IS NOT NULL), 0.0),
    coalesce(sum(printing_s) FILTER (WHERE state = 'completed'), 0.0),
    coalesce(sum(filament_mm) FILTER (WHERE ended_at IS NOT NULL), 0.0),
    coalesce(max(elapsed_s) FILTER (WHERE ended_at IS NOT NULL), 0.0),
    coalesce(max(printing_s) FILTER (WHERE state = 'completed'), 0.0)
FROM runs GROUP BY printer;

CREATE TABLE printed ( -- what was known of each content that there are runs of, also when its file is gone
    sha256      TEXT PRIMARY KEY,
    modified_at REAL NOT NULL,
    metadata    BLOB, -- core.file.Metadata
    analysis    BLOB -- core.file.Analysis without its layers and objects
) STRICT;
INSERT INTO printed
SELECT sha256, max(modified_at), metadata, analysis FROM files
WHERE sha256 IN (SELECT file_sha256 FROM runs) GROUP BY sha256;

CREATE TABLE queues (
    name    TEXT PRIMARY KEY,
    printer TEXT NOT NULL -- a slug; '': any
) STRICT;

CREATE TABLE jobs (
    id    TEXT PRIMARY KEY,
    queue TEXT NOT NULL REFERENCES queues (name) ON DELETE CASCADE,
    place INTEGER NOT NULL,
    body  BLOB NOT NULL -- core.job.Job
) STRICT;
CREATE INDEX jobs_of_queue ON jobs (queue, place);
