"""How the head of an answer goes out: in the words small clients look for, and with the beginning of its body.

Microcontrollers compare letter by letter, with what the servers they were written for say: ``Content-Length: ``
and ``HTTP/1.1 409 CONFLICT``.  Some read what one packet brings.  RFC 9110 leaves case and packets to us.
"""

import asyncio
from functools import lru_cache
from typing import Final

_INTERIM: Final = b"HTTP/1.1 1"
_JOINED: Final = 64 * 1024  # a longer piece of a body is not copied to follow its head


class Outgoing:
    """One answer's way to `transport`, as uvicorn's cycle uses it: its head waits, this turn of the loop at most."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._headed = False
        self._held = b""

    def write(self, data: bytes) -> None:
        if not self._headed and not data.startswith(_INTERIM):
            self._headed = True
            self._held = styled(data)
            self._loop.call_soon(self._flush)
        elif self._held and len(data) <= _JOINED:
            data, self._held = self._held + data, b""
            self._transport.write(data)
        else:
            self._flush()
            self._transport.write(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def _flush(self) -> None:
        held, self._held = self._held, b""
        if held and not self._transport.is_closing():
            self._transport.write(held)


def styled(head: bytes) -> bytes:
    """`head` with its reason in capitals and its fields' names in theirs."""
    status, *fields = head.split(b"\r\n")
    return b"\r\n".join([status.upper(), *(_titled(field) for field in fields)])


def _titled(field: bytes) -> bytes:
    name, colon, value = field.partition(b":")
    return _title(name) + colon + value


@lru_cache(256)
def _title(name: bytes) -> bytes:
    return name.title()
