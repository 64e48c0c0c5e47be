-- Log-ins that outlive the server, and what users set for themselves.

CREATE TABLE remembered (
    digest  BLOB PRIMARY KEY, -- keyed BLAKE2b of the token; its key is in secret.key
    user    TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    ends_at REAL NOT NULL
) STRICT;
CREATE INDEX remembered_of_user ON remembered (user);

CREATE TABLE user_settings (
    name TEXT PRIMARY KEY REFERENCES users (name) ON DELETE CASCADE,
    body BLOB NOT NULL -- a JSON object, the clients' own
) STRICT;
