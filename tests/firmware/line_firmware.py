"""The numbering half of a Marlin: takes bytes, checks numbers and checksums, says ok or Resend.  No machine behind it.

Damage that the checksum cannot tell is outside of what the host promises, and is excluded here by construction: a
line that the host never wrote (`written`) is refused as if its checksum had shown it.
"""

import re
from collections.abc import Callable

_NUMBERED = re.compile(rb"N(\d+) ?(.*)\*(\d+)$")
REPORT = b"T:21.30 /0.00 B:20.90 /0.00 @:0 B@:0"


class LineFirmware:
    """`executed` is every command body but M110 and M105, in order."""

    def __init__(self, *, advanced_ok: int = 0, flushes: bool = False, capabilities: tuple[str, ...] = ()) -> None:
        self.advanced_ok = advanced_ok  # command slots told in ADVANCED_OK; 0: plain ok
        self.flushes = flushes  # forgets what it has received and not read when it refuses a line
        self.capabilities = capabilities
        self.last_line = 0
        self.executed: list[bytes] = []
        self.answers: dict[bytes, Callable[[bytes], bytes]] = {}
        self.written: set[bytes] | None = None
        self.refused = 0
        self._unread = b""

    def receive(self, data: bytes) -> bytes:
        *lines, self._unread = (self._unread + data).replace(b"\r", b"\n").split(b"\n")
        out = []
        for line in lines:
            if line.strip():
                refused = self.refused
                out.append(self._take(line))
                if self.flushes and self.refused > refused:
                    self._unread = b""
                    break
        return b"".join(out)

    def _take(self, line: bytes) -> bytes:
        if self.written is not None and line not in self.written:
            if line.startswith(b"N"):
                return self._refuse(b"checksum mismatch")
            return b'echo:Unknown command: "' + line + b'"\nok\n'
        if not line.startswith(b"N"):
            return self._execute(line)
        match = _NUMBERED.match(line)
        if match is None:
            return self._refuse(b"No Checksum with line number")
        number, body = int(match[1]), match[2]
        resets = b"M110" in body
        if number != self.last_line + 1 and not resets:
            return self._refuse(b"Line Number is not Last Line Number+1")
        check = 0
        for byte in line[: line.rindex(b"*")]:
            check ^= byte
        if check != int(match[3]):
            return self._refuse(b"checksum mismatch")
        self.last_line = number
        if resets:
            self.last_line = int(body.split(b"N")[-1])
        return self._execute(body)

    def _refuse(self, why: bytes) -> bytes:
        self.refused += 1
        return b"Error:%b, Last Line: %d\nResend: %d\nok\n" % (why, self.last_line, self.last_line + 1)

    def _execute(self, body: bytes) -> bytes:
        name = body.split(b" ")[0]
        if name not in (b"M105", b"M110", b"M115", b"M155"):
            self.executed.append(body)
        if name in self.answers:
            return self.answers[name](body)
        if name == b"M105":
            return b"ok %b\n" % REPORT
        if name == b"M115":
            caps = b"".join(b"Cap:%b:1\n" % cap.encode() for cap in self.capabilities)
            return b"FIRMWARE_NAME:Marlin 2.1.2 PROTOCOL_VERSION:1.0 MACHINE_TYPE:Test EXTRUDER_COUNT:1\n%bok\n" % caps
        if self.advanced_ok:
            return b"ok N%d P15 B%d\n" % (self.last_line, self.advanced_ok - 1)
        return b"ok\n"
