"""How a run is called by clients: its number among those of its printer, as upper-case hexadecimal digits."""

from polyhost.core.errors import NotFound


def id_of(ordinal: int) -> str:
    """
    >>> id_of(42)
    '00002A'
    """
    return f"{ordinal:06X}"


def ordinal_of(uid: str) -> int:
    """`NotFound` for what no run is called.

    >>> ordinal_of("00002a")
    42
    """
    try:
        return int(uid, 16)
    except ValueError:
        raise NotFound(f"Invalid job uid: {uid}") from None
