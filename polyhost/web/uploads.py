"""Multipart uploads: parts in any order, the file straight to disk while it comes.

`FormReader` takes bytes and gives parts; it does no I/O.  `received` drives it with a request's body and an
upload of `services.files`.
"""

import contextlib
import logging
import re
import urllib.parse
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Set
from typing import Final, NamedTuple

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from polyhost.core.errors import Malformed, TooLarge, Unsupported
from polyhost.core.user import Permission
from polyhost.services.files import Upload
from polyhost.web.bodies import length_of
from polyhost.web.call import Call

MAX_PARTS: Final = 64
MAX_PART_HEADERS: Final = 8 * 1024
MAX_FIELD: Final = 64 * 1024
MAX_BEFORE_KEY: Final = 64 * 1024
_AROUND_THE_FILE: Final = 1024 * 1024  # what parts besides the file may add to a body

# What is wrong with a form is told to who sent it; the parser would also tell our log.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)

_PARAMETER: Final = re.compile(rb';\s*([\w!#$%&\'*+.^`|~-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)')
_EXTENDED: Final = re.compile(r"(utf-8|iso-8859-1)'[^']*'(.*)", re.IGNORECASE | re.DOTALL)


class Field(msgspec.Struct, frozen=True):
    name: str
    value: str


class FileBegan(msgspec.Struct, frozen=True):
    filename: str


class FileData(msgspec.Struct, frozen=True):
    data: bytes


Part = Field | FileBegan | FileData


class FormReader:
    """Reads ``multipart/form-data`` fed in pieces.

    The part named `file_field` that has a file name is the file, and there is one at the most; any other part that
    has one is a file that nobody wants, and passed over.  The rest are fields.
    """

    def __init__(self, boundary: bytes, file_field: str = "file") -> None:
        """`Malformed` for a boundary that cannot be one."""
        self._file_field = file_field
        self._parts: list[Part] = []
        self._count = 0
        self._header_name = b""
        self._header_value = b""
        self._disposition = b""
        self._header_bytes = 0
        self._name = ""
        self._in_file = False
        self._unwanted = False
        self._had_file = False
        self._value = bytearray()
        self._ended = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._part_began,
                    "on_header_field": self._header_field,
                    "on_header_value": self._header_data,
                    "on_header_end": self._header_ended,
                    "on_headers_finished": self._headers_finished,
                    "on_part_data": self._part_data,
                    "on_part_end": self._part_ended,
                    "on_end": self._body_ended,
                },
                max_header_size=MAX_PART_HEADERS,
                max_header_count=MAX_PARTS,
            )
        except FormParserError as error:
            raise Malformed(str(error)) from error

    def feed(self, data: bytes) -> list[Part]:
        """The parts, or pieces of the file, that `data` completes."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise Malformed(f"the form is broken: {error}") from error
        parts, self._parts = self._parts, []
        return parts

    def finish(self) -> None:
        """`Malformed` when the body ended before the form did."""
        if not self._ended:
            raise Malformed("the form ends in the middle")

    def _part_began(self) -> None:
        self._count += 1
        if self._count > MAX_PARTS:
            raise Malformed(f"more than {MAX_PARTS} parts")
        self._disposition = b""
        self._header_bytes = 0
        self._value.clear()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._header_name += data[start:end]

    def _header_data(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._header_value += data[start:end]

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > MAX_PART_HEADERS:
            raise Malformed(f"the headers of a part are longer than {MAX_PART_HEADERS} bytes")

    def _header_ended(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

    def _headers_finished(self) -> None:
        self._name, filename = names_of(self._disposition)
        self._in_file = self._name == self._file_field and bool(filename)
        self._unwanted = bool(filename) and not self._in_file
        if self._in_file:
            if self._had_file:
                raise Malformed("more than one file; send one at a time")
            self._had_file = True
            self._parts.append(FileBegan(filename or ""))

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._parts.append(FileData(data[start:end]))
            return
        if self._unwanted:
            return
        self._value += data[start:end]
        if len(self._value) > MAX_FIELD:
            raise TooLarge(f"the field {self._name!r} is longer than {MAX_FIELD} bytes")

    def _part_ended(self) -> None:
        if not (self._in_file or self._unwanted):
            self._parts.append(Field(self._name, _text(bytes(self._value))))
        self._in_file = self._unwanted = False

    def _body_ended(self) -> None:
        self._ended = True


def names_of(disposition: bytes) -> tuple[str, str | None]:
    """The name of a part and of its file; ``filename*`` (RFC 5987) wins.

    >>> names_of(b'form-data; name="file"; filename="a b.gcode"')
    ('file', 'a b.gcode')
    >>> names_of(b"form-data; name=file; filename=x; filename*=UTF-8''%C3%BC.gcode")
    ('file', 'ü.gcode')
    """
    said: dict[str, str] = {}
    for match in _PARAMETER.finditer(disposition):
        value = match[2].strip()
        if value.startswith(b'"') and len(value) > 1:
            value = re.sub(rb'\\(["\\])', rb"\1", value[1:-1])
        said.setdefault(match[1].decode("ascii", "replace").lower(), _text(value))
    filename = said.get("filename")
    extended = _EXTENDED.fullmatch(said.get("filename*", ""))
    if extended is not None:
        with contextlib.suppress(UnicodeDecodeError):
            filename = urllib.parse.unquote_to_bytes(extended[2]).decode(extended[1])
    return said.get("name", ""), filename


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("iso-8859-1")


class Received(msgspec.Struct):
    """A whole form: its fields (the last of each name), and the file, staged but not yet committed."""

    fields: dict[str, str] = {}
    upload: Upload | None = None


class Destination(NamedTuple):
    """Where a file goes; `folder` and `name` as they came."""

    folder: str
    name: str
    overwrite: bool


@contextlib.asynccontextmanager
async def received(
    call: Call,
    needs: Permission,
    place: Callable[[Mapping[str, str], str], Destination],
    *,
    known_by: Set[str] = frozenset({"path"}),
) -> AsyncIterator[Received]:
    """Read the form of `call`; leaving without committing the upload discards it.

    `place` says where the file of a name goes, by the fields known so far.  With the fields `known_by` before the
    file, a place that will not do is refused before the file is read; it is judged again when all fields are there.

    The caller must be allowed `needs`; a guest may still bring a key in the field ``apikey``, before the file and
    within the first 64 KiB.
    """
    boundary = _boundary(call)
    most = call.host.config.uploads.max_bytes
    longest = most + _AROUND_THE_FILE
    expected = length_of(call.headers, 0)

    def admit() -> None:
        call.require(needs)
        if expected > longest:
            raise TooLarge(f"an upload may have {most} bytes")

    if not call.caller.is_guest:
        admit()
    form = Received()
    reader = FormReader(boundary)
    named = ""
    async with contextlib.AsyncExitStack() as stack:
        async for chunk in _chunks_of(call, needs, longest):
            for part in reader.feed(chunk):
                match part:
                    case Field(name, value):
                        form.fields[name] = value
                        if name == "apikey" and call.caller.is_guest:
                            call.caller = call.host.accounts.caller_of_key(value)
                    case FileBegan(filename):
                        admit()
                        named = filename
                        known = place(form.fields, filename) if known_by <= form.fields.keys() else _UNKNOWN
                        upload = call.host.files.upload(
                            known.folder,
                            known.name,
                            call.caller,
                            expected_bytes=min(expected, most),
                            overwrite=known.overwrite,
                        )
                        form.upload = await stack.enter_async_context(upload)
                    case FileData(data):
                        assert form.upload is not None  # FileBegan comes first
                        form.upload.write(data)
            if form.upload is not None:
                await form.upload.drain()
        reader.finish()
        admit()
        if form.upload is not None:
            destination = place(form.fields, named)
            form.upload.aim(destination.folder, destination.name, overwrite=destination.overwrite)
        yield form


_UNKNOWN: Final = Destination("", "an upload on its way", True)


async def _chunks_of(call: Call, needs: Permission, longest: int) -> AsyncGenerator[bytes, None]:
    """The body, at most `longest` bytes of it, and of a guest's at most 64 KiB until there is a key."""
    size = 0
    async for chunk in call.chunks():
        if call.caller.is_guest and size + len(chunk) > MAX_BEFORE_KEY:
            head, chunk = chunk[: MAX_BEFORE_KEY - size], chunk[MAX_BEFORE_KEY - size :]
            size += len(head)
            yield head
            call.require(needs)
        size += len(chunk)
        if size > longest:
            raise TooLarge(f"the form is longer than {longest} bytes")
        yield chunk


def _boundary(call: Call) -> bytes:
    kind = call.header(b"content-type")
    if call.media_type != "multipart/form-data":
        raise Unsupported(f"expected multipart/form-data, got {call.media_type or 'no content type'}")
    match = re.search(r';\s*boundary=(?:"([^"]+)"|([^;\s]+))', kind, re.IGNORECASE)
    if match is None:
        raise Malformed("the form names no boundary")
    return (match[1] or match[2]).encode("latin-1")
