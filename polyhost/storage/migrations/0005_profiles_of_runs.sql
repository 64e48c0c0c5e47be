-- The id of the printer's profile that a run was made with; before there were others it was the printer's own.
ALTER TABLE runs ADD COLUMN profile TEXT NOT NULL DEFAULT '_default';
