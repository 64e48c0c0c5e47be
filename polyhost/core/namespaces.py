"""What programs keep for themselves with a printer: trees of JSON by name, and what may be kept.

A namespace is an object of records; a key leads to a record, or from there into it.
"""

from collections.abc import Sequence
from typing import Any, Final

from polyhost.core.errors import Malformed, NotFound, TooLarge

MAX_KEY_BYTES: Final = 255  # of a namespace's name, and of each part of a key
MAX_PARTS: Final = 32  # of a key
MAX_RECORD_BYTES: Final = 1 << 20  # of JSON
MAX_NAMESPACES: Final = 200  # of one printer
MAX_TOTAL_BYTES: Final = 64 << 20  # of one printer
MAX_BACKUPS: Final = 20  # of one printer

Path = tuple[str, ...]


def path_of(key: str | Sequence[str]) -> Path:
    """The parts of a key, which may be written with dots between them; `Malformed` when it is none.

    >>> path_of("a.b"), path_of(["a.b", "c"])
    (('a', 'b'), ('a.b', 'c'))
    """
    parts = tuple(key.split(".") if isinstance(key, str) else key)
    if not parts or "" in parts:
        raise Malformed(f"Invalid Key Format: '{str(key)[:MAX_KEY_BYTES]}'")
    if len(parts) > MAX_PARTS:
        raise TooLarge(f"a key has at most {MAX_PARTS} parts, not {len(parts)}")
    for part in parts:
        _check_length(part, "a part of a key")
    return parts


def checked_namespace(name: str) -> str:
    """`name`, if a namespace may be called so."""
    if not name or not name.isprintable():
        raise Malformed(f"a namespace's name is not empty, and has no control characters: {name[:MAX_KEY_BYTES]!r}")
    _check_length(name, "a namespace's name")
    return name


def found(record: Any, path: Path) -> Any:
    """What is at `path` in `record`; `NotFound` where it leads nowhere."""
    for part in path:
        if not isinstance(record, dict) or part not in record:
            raise NotFound(f"nothing is at {part!r}")
        record = record[part]
    return record


def with_value(record: Any, path: Path, value: Any) -> Any:
    """`record` (changed in place, where it is an object) with `value` at `path`; objects on the way are made.

    A record that is no object gives way to one; `Malformed` when something else on the way is none.
    """
    if not path:
        return value
    item = record = record if isinstance(record, dict) else {}
    for part in path[:-1]:
        item = item.setdefault(part, {})
        if not isinstance(item, dict):
            raise Malformed(f"the item at {part!r} is not an object; nothing can be put into it")
    item[path[-1]] = value
    return record


def without_value(record: Any, path: Path) -> tuple[Any, Any]:
    """What is left of `record`, and what was at `path`; `NotFound` where it leads nowhere."""
    parent = found(record, path[:-1])
    gone = found(parent, path[-1:])
    del parent[path[-1]]
    return record, gone


def _check_length(name: str, what: str) -> None:
    if len(name.encode("utf-8", "replace")) > MAX_KEY_BYTES:
        raise TooLarge(f"{what} has at most {MAX_KEY_BYTES} bytes: {name[:40]!r}…")
