"""Messages to clients that listen, each made once for all of them.

Upstream: OctoPrint 1.11, docs/api/push.rst.
"""

from typing import Final, Protocol

import msgspec

from polyhost.web.sockets import Frame, text_frame

_json: Final = msgspec.json.Encoder()


class Message:
    """One ``{type: payload}``; its forms for the transports are made when they are first wanted.

    `latest` names what a newer message of the same kind replaces, for clients that are slow; "" is never replaced.
    """

    __slots__ = ("_framed", "_raw", "body", "latest")

    def __init__(self, body: bytes, latest: str = "") -> None:
        self.body = body
        self.latest = latest
        self._raw: Frame | None = None
        self._framed: Frame | None = None

    @property
    def raw(self) -> Frame:
        """For ``/sockjs/websocket``."""
        if self._raw is None:
            self._raw = text_frame(self.body)
        return self._raw

    @property
    def framed(self) -> Frame:
        """For ``/sockjs/<server>/<session>/websocket``.  The object itself, not a string of it, as upstream does."""
        if self._framed is None:
            self._framed = text_frame(b"a[%b]" % self.body)
        return self._framed


def message(kind: str, payload: object, latest: str = "") -> Message:
    return Message(_json.encode({kind: payload}), latest)


def merged(kind: str, common: bytes, own: bytes, latest: str = "") -> Message:
    """``{kind: {…}}`` of two JSON objects that each have something in them."""
    return Message(b'{"%b":%b,%b}' % (kind.encode(), common[:-1], own[1:]), latest)


class Link(Protocol):
    """The way to one client, whatever transport it has."""

    def send(self, message: Message) -> None:
        """Never waits; what a slow client misses is the transport's to decide."""
