"""The tables of accounts: users, keys, log-ins that are remembered or have tokens, what users set for themselves.

Each function works inside the transaction that `records` has begun.
"""

import sqlite3
from collections.abc import Mapping, Sequence

from polyhost.core.user import ApiKey, Remembered, Role, User


def users(c: sqlite3.Connection) -> list[tuple[User, str]]:
    """With the hashes of their passwords."""
    rows = c.execute("SELECT name, role, active, created_at, password FROM users ORDER BY name")
    return [
        (User(name, Role(role), bool(active), created_at), password)
        for name, role, active, created_at, password in rows
    ]


def keys(c: sqlite3.Connection) -> list[tuple[ApiKey, bytes]]:
    rows = c.execute(
        "SELECT id, user, role, app, printers, created_at, last_used_at, ends_at, digest FROM api_keys"
        " ORDER BY created_at"
    )
    return [
        (ApiKey(row[0], row[1], Role(row[2]), row[3], tuple(row[4].split()), row[5], row[6], row[7]), row[8])
        for row in rows
    ]


def remembered(c: sqlite3.Connection) -> list[Remembered]:
    return [Remembered(*row) for row in c.execute("SELECT digest, user, ends_at FROM remembered ORDER BY ends_at")]


def logins(c: sqlite3.Connection) -> list[Remembered]:
    return [Remembered(*row) for row in c.execute("SELECT digest, user, ends_at FROM logins ORDER BY ends_at")]


def user_settings(c: sqlite3.Connection) -> dict[str, bytes]:
    return dict(c.execute("SELECT name, body FROM user_settings").fetchall())


def keep_user(c: sqlite3.Connection, user: User, password_hash: str) -> None:
    c.execute(
        "INSERT INTO users (name, role, active, created_at, password) VALUES (?, ?, ?, ?, ?) ON CONFLICT (name)"
        " DO UPDATE SET role = excluded.role, active = excluded.active, password = excluded.password",
        (user.name, user.role.value, user.active, user.created_at, password_hash),
    )


def keep_key(c: sqlite3.Connection, key: ApiKey, digest: bytes) -> None:
    c.execute(
        "INSERT INTO api_keys (id, digest, user, role, app, printers, created_at, last_used_at, ends_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(key.id, digest, key.user, key.role.value, key.app, " ".join(key.printers)),
            *(key.created_at, key.last_used_at, key.ends_at),
        ),
    )


def note_key_uses(c: sqlite3.Connection, used_at: Mapping[str, float]) -> None:
    values = [(at, key_id) for key_id, at in used_at.items()]
    c.executemany("UPDATE api_keys SET last_used_at = ? WHERE id = ?", values)


def keep_remembered(c: sqlite3.Connection, one: Remembered, gone: Sequence[bytes]) -> None:
    drop_remembered(c, gone)
    c.execute("INSERT INTO remembered (digest, user, ends_at) VALUES (?, ?, ?)", (one.digest, one.user, one.ends_at))


def drop_remembered(c: sqlite3.Connection, digests: Sequence[bytes]) -> None:
    c.executemany("DELETE FROM remembered WHERE digest = ?", [(digest,) for digest in digests])


def keep_login(c: sqlite3.Connection, one: Remembered, gone: Sequence[bytes]) -> None:
    drop_logins(c, gone)
    c.execute("INSERT INTO logins (digest, user, ends_at) VALUES (?, ?, ?)", (one.digest, one.user, one.ends_at))


def drop_logins(c: sqlite3.Connection, digests: Sequence[bytes]) -> None:
    c.executemany("DELETE FROM logins WHERE digest = ?", [(digest,) for digest in digests])
