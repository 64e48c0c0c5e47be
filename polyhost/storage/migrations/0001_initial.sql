-- Times are seconds since the epoch; enums are their values; `body` columns are msgpack of the struct named.

CREATE TABLE users (
    name       TEXT PRIMARY KEY,
    role       TEXT NOT NULL,
    active     INTEGER NOT NULL,
    created_at REAL NOT NULL,
    password   TEXT NOT NULL -- argon2id, with its parameters
) STRICT;

CREATE TABLE api_keys (
    id           TEXT PRIMARY KEY,
    digest       BLOB NOT NULL UNIQUE, -- keyed BLAKE2b of the secret; its key is in secret.key
    user         TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    role         TEXT NOT NULL,
    app          TEXT NOT NULL,
    printers     TEXT NOT NULL, -- slugs, separated by spaces; none: any
    created_at   REAL NOT NULL,
    last_used_at REAL,
    ends_at      REAL
) STRICT;
CREATE INDEX api_keys_of_user ON api_keys (user);

CREATE TABLE printers (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    slug   TEXT NOT NULL UNIQUE,
    body   BLOB NOT NULL -- config.Printer
) STRICT;

CREATE TABLE selected ( -- the file chosen for a printer's next run; of printers in the settings file, too
    printer TEXT PRIMARY KEY,
    path    TEXT NOT NULL
) STRICT;

CREATE TABLE runs (
    number       INTEGER PRIMARY KEY AUTOINCREMENT, -- the order of starts, whatever the clock did
    id           TEXT NOT NULL UNIQUE,
    printer      TEXT NOT NULL,
    path         TEXT NOT NULL,
    file_sha256  TEXT NOT NULL,
    size_bytes   INTEGER NOT NULL,
    state        TEXT NOT NULL,
    by           TEXT NOT NULL,
    started_at   REAL NOT NULL,
    ended_at     REAL, -- null: not ended, as far as is known
    elapsed_s    REAL NOT NULL,
    printing_s   REAL NOT NULL,
    file_bytes   INTEGER NOT NULL,
    filament_mm  REAL,
    reason       TEXT NOT NULL,
    resumed_from TEXT NOT NULL
) STRICT;
CREATE INDEX runs_of_printer ON runs (printer, number);
CREATE INDEX runs_of_path ON runs (path, number);
CREATE INDEX runs_of_content ON runs (file_sha256);
CREATE INDEX runs_going_on ON runs (printer) WHERE ended_at IS NULL;

CREATE TABLE files (
    path        TEXT PRIMARY KEY,
    size_bytes  INTEGER NOT NULL,
    modified_at REAL NOT NULL,
    sha256      TEXT NOT NULL,
    sha1        TEXT NOT NULL,
    md5         TEXT NOT NULL,
    by          TEXT NOT NULL,
    userdata    TEXT NOT NULL,
    inode       INTEGER NOT NULL, -- with the next one and the size: whether the disk still holds what was hashed
    mtime_ns    INTEGER NOT NULL,
    staged      TEXT NOT NULL, -- the name in staging/ that this row was committed with, for a rename cut short
    metadata    BLOB, -- core.file.Metadata
    analysis    BLOB, -- core.file.Analysis without its layers and objects
    layers      BLOB -- core.file.Analysis, whole
) STRICT;
