-- What people set while the host runs; `body` is msgpack of the struct that `section` names.
CREATE TABLE preferences (
    printer TEXT NOT NULL, -- a slug; '' is the host
    section TEXT NOT NULL,
    body    BLOB NOT NULL,
    PRIMARY KEY (printer, section)
) STRICT;
