"""What slicers put on the wire, byte for byte: the requests of libcurl and of Qt as these programs have them made.

PrusaSlicer, SuperSlicer and OrcaSlicer use libcurl's forms (parts ``print``, ``path``, ``file``; the body's head in
the order that libcurl writes it); Cura's plugin uses Qt's (a quoted boundary, ``MIME-Version``, a content type in
each part).
"""

import http.client
import json
import socket
from dataclasses import dataclass, field
from typing import Any, Final

CRLF: Final = b"\r\n"
GCODE: Final = b"; a print of a few moves\nG28\n" + b"G1 X10 Y10 F3000\nG1 X20\n" * 20
QT_BOUNDARY: Final = b"boundary_.oOo._MTQ1NjE4Nzc4MTIzNDU2Nzg5MDEyMw=="


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes
    continued: bool = False  # a 100 came first

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """One TCP connection, kept alive as these programs keep theirs."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=20)

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def say(self, head: bytes, body: bytes = b"", *, waits: bool = False) -> Answer:
        """Send a request; with `waits` its body only when the server said to go on."""
        self._socket.sendall(head)
        went_on = False
        if waits:
            first = self._socket.recv(25, socket.MSG_PEEK)
            if first.startswith(b"HTTP/1.1 100 "):
                assert self._socket.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
                went_on = True
        if went_on or not waits:
            self._socket.sendall(body)
        answer = http.client.HTTPResponse(self._socket, method=head.split(b" ", 1)[0].decode())
        answer.begin()
        return Answer(answer.status, answer.headers, answer.read(), went_on)


def once(port: int, head: bytes, body: bytes = b"", *, waits: bool = False) -> Answer:
    with Connection(port) as connection:
        return connection.say(head, body, waits=waits)


def head(method: str, path: str, *lines: str | bytes) -> bytes:
    raw = [line.encode() if isinstance(line, str) else line for line in lines]
    return CRLF.join([f"{method} {path} HTTP/1.1".encode(), *raw, b"", b""])


@dataclass(frozen=True)
class LibcurlSlicer:
    """A slicer of the Slic3r family.  `base` is the path of the URL that its user typed; `host` its Host header."""

    agent: str
    boundary: bytes
    port: int
    key: str
    base: str = ""
    host: str = ""
    quotes: bytes = b"%22"  # how a " in a file name is written: \" before 7.81
    extra: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        key = [f"X-Api-Key: {self.key}"] if self.key else ["X-Api-Key:"]
        host = self.host or f"127.0.0.1:{self.port}"
        return [f"Host: {host}", f"User-Agent: {self.agent}", "Accept: */*", *self.extra, *key]

    def test(self) -> Answer:
        """The button *Test*, which is also pressed before each upload."""
        return once(self.port, head("GET", f"{self.base}/api/version", *self.lines()))

    def works(self) -> bool:
        """What the program concludes from the answer to its test."""
        answer = self.test()
        if answer.status != 200:
            return False
        said = answer.json
        return isinstance(said.get("api"), str) and said.get("text", "OctoPrint").startswith("OctoPrint")

    def form(self, name: bytes, content: bytes, *, print_it: bool, folder: str = "") -> bytes:
        parts = [
            b'Content-Disposition: form-data; name="print"\r\n\r\n' + (b"true" if print_it else b"false"),
            b'Content-Disposition: form-data; name="path"\r\n\r\n' + folder.encode(),
            b'Content-Disposition: form-data; name="file"; filename="'
            + name.replace(b'"', self.quotes)
            + b'"\r\nContent-Type: application/octet-stream\r\n\r\n'
            + content,
        ]
        edge = b"--" + self.boundary
        return CRLF.join([*(edge + CRLF + part for part in parts), edge + b"--", b""])

    def upload(
        self,
        name: bytes,
        content: bytes = GCODE,
        *,
        print_it: bool = False,
        folder: str = "",
        waits: bool = False,
        chunked: bool = False,
    ) -> Answer:
        body = self.form(name, content, print_it=print_it, folder=folder)
        size = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
        kind = b"Content-Type: multipart/form-data; boundary=" + self.boundary
        expect = ["Expect: 100-continue"] if waits else []
        lines = [*self.lines(), size, kind, *expect]
        if chunked:
            pieces = [body[at : at + 1000] for at in range(0, len(body), 1000)]
            body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        return once(self.port, head("POST", f"{self.base}/api/files/local", *lines), body, waits=waits)


def prusaslicer(port: int, key: str, **how: Any) -> LibcurlSlicer:
    return LibcurlSlicer("PrusaSlicer/2.8.1", b"------------------------d74496d66958873e", port, key, **how)


def superslicer(port: int, key: str, **how: Any) -> LibcurlSlicer:
    """An older libcurl."""
    how = {"quotes": b'\\"', **how}
    return LibcurlSlicer("SuperSlicer/2.5.59.13", b"------------------------8f1a1b2e9a7c0d3f", port, key, **how)


def orcaslicer(port: int, key: str, **how: Any) -> LibcurlSlicer:
    """A newer libcurl: 24 dashes and 22 letters and digits, and compression asked for."""
    how = {"extra": ("Accept-Encoding: deflate, gzip",), **how}
    return LibcurlSlicer("OrcaSlicer/2.2.0", b"------------------------qYh3OeQ2ZzB1Nn9cJx0aLw", port, key, **how)


SLICERS: Final = (prusaslicer, superslicer, orcaslicer)


@dataclass
class Cura:
    """Cura's OctoPrint plugin: one connection that it keeps, over which it polls, uploads and prints."""

    port: int
    key: str
    base: str = ""
    connection: Connection = field(init=False)

    def __enter__(self) -> "Cura":
        self.connection = Connection(self.port)
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.__exit__()

    def lines(self) -> list[str]:
        agent = "User-Agent: UltiMaker-Cura/5.8.1 OctoPrintPlugin/3.7.3"
        return [f"Host: 127.0.0.1:{self.port}", f"X-Api-Key: {self.key}", agent]

    def tail(self) -> list[str]:
        return ["Connection: Keep-Alive", "Accept-Encoding: gzip, deflate", "Accept-Language: en-US,*"]

    def get(self, path: str) -> Answer:
        return self.connection.say(head("GET", f"{self.base}/api/{path}", *self.lines(), *self.tail()))

    def post(self, path: str, said: object) -> Answer:
        body = json.dumps(said).encode()
        kind = ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return self.connection.say(head("POST", f"{self.base}/api/{path}", *self.lines(), *kind, *self.tail()), body)

    def upload(self, name: str, content: bytes = GCODE, **flags: str) -> Answer:
        """Parts in the plugin's order: path, file, then the flags."""
        texts = [(b'name="%b"' % flag.encode(), value.encode()) for flag, value in flags.items()]
        parts = [(b'name="path"', b"//", b"text/plain")]
        parts += [(b'name="file"; filename="%b"' % name.encode(), content, b"application/octet-stream")]
        parts += [(heading, value, b"text/plain") for heading, value in texts]
        edge = b"--" + QT_BOUNDARY
        pieces = [
            edge
            + b"\r\nContent-Disposition: form-data; "
            + heading
            + b"\r\nContent-Type: "
            + kind
            + b"\r\n\r\n"
            + value
            for heading, value, kind in parts
        ]
        body = CRLF.join([*pieces, edge + b"--", b""])
        kind_line = b'Content-Type: multipart/form-data; boundary="' + QT_BOUNDARY + b'"'
        lines = [kind_line, "MIME-Version: 1.0", f"Content-Length: {len(body)}", *self.tail()]
        return self.connection.say(head("POST", f"{self.base}/api/files/local", *self.lines(), *lines), body)

    def follow(self, location: str, said: object) -> Answer:
        """The plugin takes what is behind ``api/`` of the address that the upload answered."""
        return self.post(location.split("api/", 1)[1], said)
