"""Every line of every transcript, and the tables that no transcript shows."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyhost.firmware.marlin.lines import checksum, numbered
from polyhost.firmware.marlin.quirks import QUIRKS, Habits, habits_of
from polyhost.firmware.marlin.replies import (
    ErrorKind,
    FirmwareError,
    FirmwareNamed,
    Garbled,
    LineRefused,
    Ok,
    ResendRequested,
    Said,
    SdFile,
    Started,
    parse_reply,
    parse_sd_entry,
)
from polyhost.firmware.marlin.temperatures import heaters_in

TRANSCRIPTS = Path(__file__).parent.parent / "transcripts"
FILES = sorted(path.relative_to(TRANSCRIPTS).as_posix() for path in TRANSCRIPTS.glob("*/*.txt"))


def spoken(transcript: str) -> list[tuple[str, list[str]]]:
    """The firmware's lines of a transcript, each with what it is said to mean."""
    lines: list[tuple[str, list[str]]] = []
    for line in (TRANSCRIPTS / transcript).read_text().splitlines():
        if line.startswith("< "):
            lines.append((line[2:], []))
        elif line.startswith("= "):
            lines[-1][1].append(line[2:])
    return lines


@pytest.mark.parametrize("transcript", FILES)
def test_a_transcript_says_what_it_is_said_to_mean(transcript: str) -> None:
    lines = spoken(transcript)
    assert lines
    for text, meant in lines:
        assert [repr(reply) for reply in parse_reply(text)] == meant, text


def test_each_quirk_is_shown_by_its_transcript() -> None:
    for quirk in QUIRKS:
        names = [
            reply.name
            for text, _ in spoken(quirk.transcript)
            for reply in parse_reply(text)
            if isinstance(reply, FirmwareNamed)
        ]
        assert names, quirk.transcript
        assert all(habits_of(name) == quirk.habits for name in names)
        assert quirk.habits != Habits()


@pytest.mark.parametrize(
    ("line", "replies"),
    [
        ("", ()),
        ("ok\r", (Ok(),)),
        ("  ok  ", (Ok(),)),
        ("okokok", (Ok(), Ok(), Ok())),
        ("okay", (Said("okay"),)),
        ("ok N12", (Ok(12),)),
        ("ok N12 P0 B1", (Ok(12, 0, 1),)),
        ("Resend:12", (ResendRequested(12),)),
        ("resend 12", (ResendRequested(12),)),
        ("rs 12", (ResendRequested(12),)),
        ("rs N12", (ResendRequested(12),)),
        ("Resend: 1x", (Said("Resend: 1x"),)),
        ("Error:checksum mismatch, Last Line: 1", (LineRefused(False, 1),)),
        ("Error:chksum mismatch, Last Line: 11", (LineRefused(False, 11),)),
        ("Error:checksum mismatch, Lqst Lyne: 11", (LineRefused(False),)),
        ("\x00\xfestart", (Started(),)),
        ("restart", (Said("restart"),)),
        ("o\ufffd", (Garbled("o\ufffd"),)),
        ("Error:", (FirmwareError("Error:", False, ErrorKind.OTHER),)),
        ("Error:Protected Pin", (FirmwareError("Error:Protected Pin", False, ErrorKind.SETTINGS),)),
        ("T:2\x00.1 /0.0", (Garbled("T:2\x00.1 /0.0"),)),
        ("T:9999.0 /0.0 B:20.0 /0.0", (Garbled("T:9999.0 /0.0 B:20.0 /0.0"),)),
    ],
)  # fmt: skip
def test_a_line_alone(line: str, replies: tuple[object, ...]) -> None:
    assert parse_reply(line) == replies


@pytest.mark.parametrize(
    ("line", "file"),
    [
        ("CUBE.GCO", SdFile("CUBE.GCO")),
        ("/SUB/CUBE.GCO 12", SdFile("/SUB/CUBE.GCO", 12)),
        ('CUBE~1.GCO 12 "A cube.gcode"', SdFile("CUBE~1.GCO", 12, "A cube.gcode")),
        ("CUBE~1.GCO 12 A cube.gcode", SdFile("CUBE~1.GCO", 12, "A cube.gcode")),
        ("nothing of the kind", None),
    ],
)
def test_an_entry_of_a_card(line: str, file: SdFile | None) -> None:
    assert parse_sd_entry(line) == file


@given(st.text(max_size=200))
def test_no_text_is_fatal_to_the_parser(text: str) -> None:
    for reply in parse_reply(text):
        assert reply is not None


@given(st.binary(max_size=400))
def test_the_checksum_is_the_xor_of_the_bytes(body: bytes) -> None:
    expected = 0
    for byte in body:
        expected ^= byte
    assert checksum(body) == expected


def test_a_numbered_line() -> None:
    assert numbered(0, b"M110 N0") == b"N0 M110 N0*125\n"


def test_an_unknown_heater_is_left_out() -> None:
    assert set(heaters_in("T:20.0 /0.0 P:31.0 A:25.0 R:20.0 /0.0")) == {"tool0"}
