-- Log-ins of programs that show tokens: each lasts as long as its refresh token.

CREATE TABLE logins (
    digest  BLOB PRIMARY KEY, -- keyed BLAKE2b of the refresh token; its key is in secret.key
    user    TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    ends_at REAL NOT NULL
) STRICT;
CREATE INDEX logins_of_user ON logins (user);
