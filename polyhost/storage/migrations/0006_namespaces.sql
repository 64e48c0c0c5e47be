-- What programs keep for themselves: each namespace of a printer is an object of JSON, a row for each of its records.
CREATE TABLE namespaces (
    printer   TEXT NOT NULL, -- a slug
    namespace TEXT NOT NULL,
    key       TEXT NOT NULL,
    value     BLOB NOT NULL, -- JSON
    PRIMARY KEY (printer, namespace, key)
) STRICT;
