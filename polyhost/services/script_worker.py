"""The process that renders people's scripts: ``python -m polyhost.services.script_worker``, for one rendering.

It reads a `Rendering` from its standard input and answers with a `Rendered` or a `NotRendered`, both msgpack.  A second
of time or 64 MB of memory end it (S13); which template it was at by then, its standard error says last.
"""

import resource
import signal
import sys
from typing import Final

import msgspec

from polyhost.services.templates import NotRendered, Rendered, Rendering, render

MAX_CPU_S: Final = 1.0
MAX_DATA_BYTES: Final = 64 << 20

decode_answer: Final = msgspec.msgpack.Decoder(Rendered | NotRendered).decode


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_DATA_BYTES, MAX_DATA_BYTES))
    asked = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Rendering)
    signal.setitimer(signal.ITIMER_PROF, MAX_CPU_S)  # nobody handles it: it ends the process
    sys.stdout.buffer.write(msgspec.msgpack.encode(render(asked, _say)))


def _say(name: str) -> None:
    sys.stderr.write(f"{name}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
