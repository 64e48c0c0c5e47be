"""The SD card: listing, printing from it, writing to it."""

import pytest

from polyhost.firmware.marlin.simulator import Machine
from tests.firmware.simulated import Bench, numbered

CUBE = b"; a cube\nG28\nG1 X10 F600 ; aside\n\nG1 X20\nM105\n"


def bench_with_cube(speed: float = 0.0) -> Bench:
    return Bench(Machine(card={"cube.gcode": CUBE, "A rather long name.gcode": b"G28\n"}), speed=speed)


@pytest.mark.parametrize(
    ("commands", "answers"),
    [
        (["M20"], ["Begin file list", "CUBE.GCO 46", "ARATHE~1.GCO 4", "End file list", "ok"]),
        (
            ["M20 L"],
            [
                "Begin file list",
                "CUBE.GCO 46 cube.gcode",
                "ARATHE~1.GCO 4 A rather long name.gcode",
                "End file list",
                "ok",
            ],
        ),
        (["M21"], ["echo:SD card ok", "ok"]),
        (["M22", "M20"], ["echo:SD card released", "ok", "echo:No SD card", "ok"]),
        (
            ["M23 cube.gco"],
            ["echo:Now fresh file: cube.gco", "File opened: CUBE.GCO Size: 46", "File selected", "ok"],
        ),
        (
            ["M23 /a rather long name.gcode"],
            [
                "echo:Now fresh file: /a rather long name.gcode",
                "File opened: ARATHE~1.GCO Size: 4",
                "File selected",
                "ok",
            ],
        ),
        (["M23 none.gco"], ["echo:Now fresh file: none.gco", "open failed, File: none.gco.", "ok"]),
        (["M27"], ["Not SD printing", "ok"]),
        (["M27 C"], ["Current file: (no file)", "ok"]),
        (["M24"], ["ok"]),
        (["M30 none.gco"], ["Deletion failed, File: none.gco.", "ok"]),
        (
            ["M30 cube.gco", "M20"],
            ["File deleted:CUBE.GCO", "ok", "Begin file list", "ARATHE~1.GCO 4", "End file list", "ok"],
        ),
        (["M33 cube.gco"], ["/cube.gcode", "ok"]),
        (["M29"], ["ok"]),
    ],
)
def test_what_the_card_answers(commands: list[str], answers: list[str]) -> None:
    assert bench_with_cube().say(*commands) == answers


def test_without_a_card_there_is_none() -> None:
    bench = Bench(Machine(card=None))
    assert bench.say("M20", "M21") == ["echo:No SD card", "ok", "echo:No SD card", "ok"]
    assert "Cap:SDCARD:0" in bench.say("M115")
    assert bench.say("M28 x.gco") == ["open failed, File: x.gco.", "ok"]


def test_printing_from_the_card_runs_the_file_without_saying_ok() -> None:
    bench = bench_with_cube(speed=1.0)
    bench.say("M23 cube.gco", "M27 C")
    assert bench.say("M24") == ["ok"]
    heard = bench.until(bench.now + 4.0)
    assert "ok" not in heard
    heard = bench.say("M27")
    assert [text for text in heard if text.startswith("SD printing byte ")]
    assert "Done printing file" in heard + bench.until(bench.now + 60.0)
    assert bench.say("M27") == ["Not SD printing", "ok"]
    assert [body for body in bench.recorded if body[:3] not in (b"M23", b"M24", b"M27")] == [
        b"G28", b"G1 X10 F600", b"G1 X20", b"M105",
    ]  # fmt: skip


def test_a_print_from_the_card_pauses_and_goes_on() -> None:
    bench = Bench(Machine(card={"moves.gco": b"".join(b"G4 S1\nG1 X%d\n" % n for n in range(20))}), speed=1.0)
    bench.say("M23 moves.gco", "M24")
    bench.until(bench.now + 5.5)
    bench.say("M25")
    bench.until(bench.now + 5.0)
    executed = bench.simulator.executed
    bench.until(bench.now + 20.0)
    assert bench.simulator.executed == executed
    assert bench.say("M27") == ["Not SD printing", "ok"]
    bench.say("M24")
    assert "Done printing file" in bench.until(bench.now + 60.0)
    assert bench.recorded.count(b"G4 S1") == 20


def test_a_long_file_printed_in_no_time_gives_its_caller_a_turn() -> None:
    bench = Bench(Machine(card={"long.gco": b"G1 X1\n" * 1000}))
    bench.say("M23 long.gco")
    bench.simulator.receive(b"M24\n", 0.0)
    turns = 0
    said = b""
    while b"Done" not in said:
        said += bench.simulator.data_to_send(0.0)
        turns += 1
    assert turns >= 5
    assert bench.recorded.count(b"G1 X1") == 1000


def test_progress_is_reported_by_itself() -> None:
    bench = Bench(Machine(card={"slow.gco": b"G4 S1\n" * 10}), speed=1.0)
    bench.say("M23 slow.gco", "M27 S2", "M24")
    heard = bench.until(bench.now + 7.0)
    assert [text for text in heard if text.startswith("SD printing byte ")] == [
        "SD printing byte 18/60",
        "SD printing byte 30/60",
        "SD printing byte 42/60",
    ]


def test_m26_starts_elsewhere() -> None:
    bench = Bench(Machine(card={"x.gco": b"M82\nM83\n"}))
    bench.say("M23 x.gco", "M26 S4", "M24")
    assert bench.recorded[-1] == b"M83"


def test_an_upload_is_written_and_not_done() -> None:
    bench = Bench()
    assert bench.say("M28 part.gco") == ["echo:Now fresh file: part.gco", "Writing to file: part.gco", "ok"]
    assert bench.feed(numbered(1, "G1 X50") + numbered(2, "M104 S9")) == ["ok", "ok"]
    assert bench.say("M29") == ["Done saving file.", "ok"]
    assert bench.say("M114")[0].startswith("X:0.00")
    assert "PART.GCO 15" in bench.say("M20")
    bench.say("M23 part.gco", "M24")
    assert b"G1 X50" in bench.recorded[-2:]


def test_a_reset_ends_a_print_from_the_card_and_keeps_its_files() -> None:
    bench = Bench(Machine(card={"slow.gco": b"G4 S1\n" * 10}), speed=1.0)
    bench.say("M28 new.gco")
    bench.feed(numbered(1, "M106"))
    bench.say("M29", "M23 slow.gco", "M24")
    bench.simulator.open(bench.now)
    bench.until(bench.now + 20.0)
    assert bench.say("M27") == ["Not SD printing", "ok"]
    assert {"SLOW.GCO 60", "NEW.GCO 5"} <= set(bench.say("M20"))


def test_a_numbered_upload_that_is_damaged_asks_again() -> None:
    bench = Bench()
    bench.feed(numbered(1, "M28 x.gco") + numbered(2, "G1 X1"))
    assert bench.feed(b"N3 G1 X2*1\n")[1] == "Resend: 3"
    bench.feed(numbered(3, "G1 X2") + numbered(4, "M29"))
    assert "X.GCO 12" in bench.say("M20")


def test_what_has_no_number_gets_into_no_file() -> None:
    """Marlin's ``get_serial_commands``: while it saves, all but M29 needs a number (queue.cpp of 2.0 and 2.1)."""
    bench = Bench()
    bench.feed(numbered(1, "M28 x.gco") + numbered(2, "G1 X1"))
    assert bench.feed(b"3 G1 X2*99\n") == ["Error:No Checksum with line number, Last Line: 2", "Resend: 3", "ok"]
    bench.feed(numbered(3, "G1 X2"))
    assert bench.say("M29") == ["Done saving file.", "ok"]
    assert "X.GCO 12" in bench.say("M20")
