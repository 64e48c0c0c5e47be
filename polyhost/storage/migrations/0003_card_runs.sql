-- A run of a file on the printer's own card: `path` is its name there, and `file_sha256` is ''.
ALTER TABLE runs ADD COLUMN on_card INTEGER NOT NULL DEFAULT 0;
