"""The process that reads G-code: ``python -m polyhost.services.reading_worker``, asked through its standard streams.

It reads one file at a time, slowly rather than in anybody's way, within bounds that its parent watches and some that
it sets itself (R17).  A frame either way is a length (4 bytes, big-endian) and that many bytes of msgpack.
"""

import logging
import math
import os
import resource
import signal
import struct
import sys
from time import monotonic
from typing import BinaryIO, Final

import msgspec

from polyhost.core.file import Analysis, Metadata

log = logging.getLogger(__name__)

MAX_DATA_BYTES: Final = 512 << 20  # a spike beyond this fails at once; what stays resident is the parent's matter
NICE: Final = 10


class ReadHeader(msgspec.Struct, frozen=True, tag=True):
    """Metadata and pictures of the file at an absolute path."""

    path: str
    within_s: float


class ReadWhole(msgspec.Struct, frozen=True, tag=True):
    """The analysis, of as much as can be read in nine tenths of `within_s`.

    `motion` is how fast a machine moves (`core.printer.Firmware`), where the file does not say it.
    """

    path: str
    within_s: float
    motion: tuple[str, ...] = ()


class HeaderRead(msgspec.Struct, frozen=True, tag=True):
    metadata: Metadata
    pictures: dict[str, bytes]  # by digest


class WholeRead(msgspec.Struct, frozen=True, tag=True):
    analysis: Analysis


class NotRead(msgspec.Struct, frozen=True, tag=True):
    reason: str


Question = ReadHeader | ReadWhole
Answer = HeaderRead | WholeRead | NotRead

length: Final = struct.Struct(">I")
encode: Final = msgspec.msgpack.Encoder().encode
decode_answer: Final = msgspec.msgpack.Decoder(Answer).decode
_decode_question: Final = msgspec.msgpack.Decoder(Question).decode


def framed(message: Question | Answer) -> bytes:
    body = encode(message)
    return length.pack(len(body)) + body


def answer_to(question: Question) -> Answer:
    """What the file shows; `NotRead` for one that cannot be opened."""
    # Imported when first asked: the server, too, imports this module, and numpy must not come with it.
    from polyhost.gcode.metadata import metadata_of

    try:
        with open(question.path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            match question:
                case ReadHeader():
                    metadata, images = metadata_of(file, size)
                    return HeaderRead(metadata, {image.thumbnail.digest: image.data for image in images})
                case ReadWhole():
                    from polyhost.gcode.analysis import analyse
                    from polyhost.gcode.limits import limits_from_m503

                    limits = limits_from_m503(question.motion)
                    return WholeRead(analyse(file, size, limits, budget_s=0.9 * question.within_s, clock=monotonic))
    except OSError as error:
        return NotRead(str(error))


def serve(asked: BinaryIO, answers: BinaryIO) -> None:
    """Answer until nobody asks any more."""
    while len(head := asked.read(length.size)) == length.size:
        question = _decode_question(asked.read(length.unpack(head)[0]))
        signal.alarm(
            math.ceil(question.within_s) + 5
        )  # the end of this process, should its parent not be there to watch
        try:
            answer = answer_to(question)
        except Exception as error:
            log.debug("%s", question.path, exc_info=True)
            answer = NotRead(f"{type(error).__name__}: {error}")
        signal.alarm(0)
        answers.write(framed(answer))
        answers.flush()


def main() -> None:
    os.nice(NICE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_DATA_BYTES, MAX_DATA_BYTES))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C in the terminal is the server's; it closes our input
    serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
