"""The host's half of the conversation: greeting, lanes, what is heard, and the bad ends."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyhost.core.printer import Cause, Firmware
from polyhost.firmware.marlin.replies import (
    Busy,
    CommandsDone,
    DamagedLink,
    Dead,
    ErrorKind,
    FirmwareError,
    FirmwareReported,
    FirmwareRestarted,
    HostAction,
    PositionReported,
    Reply,
    SdFailed,
    SdFile,
    SdFilesListed,
    SdWriteBegan,
    TemperaturesReported,
)
from polyhost.firmware.marlin.session import Lane, Session
from tests.firmware.line_firmware import REPORT, LineFirmware
from tests.firmware.links import Flipping, Perfect, World

TRANSCRIPTS = Path(__file__).parent.parent / "transcripts"
LINES = [b"G1 X%d Y%d E%d" % (n % 200, n % 177, n) for n in range(400)]


def world(firmware: LineFirmware | None = None, link: Perfect | None = None, **window: int) -> World:
    return World(Session(**window), firmware or LineFirmware(), link or Perfect(0.0, 0))


def greeted(firmware: LineFirmware | None = None, link: Perfect | None = None, **window: int) -> World:
    """A world past its greeting, at rest."""
    joined = world(firmware, link, **window)
    joined.run_until(lambda: joined.session.idle, 60.0)
    assert joined.session.idle
    return joined


def settle(joined: World, limit_s: float = 60.0) -> None:
    joined.turn()
    joined.run_until(lambda: joined.session.idle, limit_s)


class Deaf(LineFirmware):
    """Says nothing once `deaf`."""

    deaf = False

    def receive(self, data: bytes) -> bytes:
        return b"" if self.deaf else super().receive(data)


# Greeting.


def test_a_board_that_says_nothing_is_spoken_to_after_two_seconds() -> None:
    session = Session()
    session.opened(10.0)
    assert session.data_to_send(10.0) == b""
    assert session.next_deadline() == 12.0
    session.tick(12.0)
    assert session.data_to_send(12.0) == b"N0 M110 N0*125\n"


def test_a_board_that_says_start_is_spoken_to_at_once() -> None:
    session = Session()
    session.opened(0.0)
    session.receive(b"\xff\x00start\necho: Last Updated: 2023\n", 0.5)
    assert session.data_to_send(0.5) == b"N0 M110 N0*125\n"


def test_the_greeting_ends_with_what_the_firmware_is() -> None:
    joined = greeted(LineFirmware(capabilities=("AUTOREPORT_TEMP", "EMERGENCY_PARSER")))
    firmware = Firmware("Marlin 2.1.2", "Test", 1, {"AUTOREPORT_TEMP": True, "EMERGENCY_PARSER": True})
    assert FirmwareReported(firmware) in joined.replies
    assert joined.session.firmware == firmware
    assert joined.now < 3.0


def test_numbers_of_an_earlier_connection_do_not_matter() -> None:
    firmware = LineFirmware()
    firmware.last_line = 70_000
    joined = greeted(firmware)
    joined.print_file(LINES)
    assert firmware.executed == LINES


def test_a_board_that_starts_late_is_greeted_again() -> None:
    session, firmware = Session(), LineFirmware()
    session.opened(0.0)
    session.tick(2.0)
    assert session.data_to_send(2.0) == b"N0 M110 N0*125\n"  # into the boot loader
    assert session.receive(b"start\n", 3.0) == []
    assert session.data_to_send(3.0) == b"N0 M110 N0*125\n"
    session.receive(b"ok\n", 3.1)
    session.receive(firmware.receive(b"M105\n"), 3.2)
    assert session.data_to_send(3.2).startswith(b"N1 M105")


def test_no_answer_ends_the_greeting_within_twelve_seconds() -> None:
    firmware = Deaf()
    firmware.deaf = True
    joined = world(firmware)
    joined.run_until(lambda: False, 60.0)
    assert joined.dead == "the firmware does not answer"
    assert joined.now <= 12.0


def test_a_wrong_rate_ends_the_greeting_sooner() -> None:
    session = Session()
    session.opened(0.0)
    now, replies = 0.0, []
    while not replies:
        session.receive(b"\xf8\x80\x06\xe6\n\x80\xff", now)
        session.data_to_send(now)
        now += 0.5
        replies = session.tick(now)
        assert now < 10.0
    assert replies == [Dead("what the firmware says is unreadable at this rate", Cause.CONNECTION)]
    assert now <= 6.0


# Lanes.


def test_a_file_goes_through_line_by_line() -> None:
    joined = greeted()
    joined.print_file(LINES)
    session = joined.session
    assert joined.firmware.executed == LINES
    assert session.file_lines_acknowledged == len(LINES)
    assert session.idle
    assert session.resends == 0
    assert session.lines_sent < len(LINES) + 20


def test_no_more_than_one_line_is_on_its_way_until_the_firmware_shows_room() -> None:
    joined = greeted()
    joined.session.queue(LINES, Lane.FILE)
    for _ in range(200):
        joined.turn()
        assert joined.session.in_flight <= 1


def test_room_told_by_advanced_ok_is_used() -> None:
    joined = greeted(LineFirmware(advanced_ok=4))
    joined.session.queue([b"M117 " + b"x" * 20] * 40, Lane.FILE)
    most = 0
    for _ in range(200):
        joined.turn()
        most = max(most, joined.session.in_flight)
    assert most == 4


def test_the_bytes_behind_the_line_at_work_are_bounded() -> None:
    session = greeted(window_lines=8, window_bytes=100).session
    session.queue([b"M117 " + b"x" * 33] * 20, Lane.HOST)
    sent = session.data_to_send(1000.0).splitlines(keepends=True)
    assert len(sent) == 3
    assert sum(len(line) for line in sent[1:]) <= 100


def test_lines_of_the_host_go_before_those_of_the_file() -> None:
    joined = greeted()
    session = joined.session
    session.queue(LINES[:50], Lane.FILE)
    joined.turn()
    session.queue([b"M106 S255", b"M107"], Lane.HOST, "fan")
    settle(joined)
    executed = joined.firmware.executed
    assert executed.index(b"M106 S255") < 3
    assert executed.index(b"M107") == executed.index(b"M106 S255") + 1
    assert [line for line in executed if line not in (b"M106 S255", b"M107")] == LINES[:50]
    assert joined.replies.count(CommandsDone("fan")) == 1


def test_a_tag_behind_no_lines_is_told_once_all_is_through() -> None:
    joined = greeted()
    joined.session.queue([], Lane.HOST, "nothing")
    joined.turn()
    assert joined.replies[-1] == CommandsDone("nothing")


def test_a_tag_behind_no_lines_is_told_though_the_numbers_begin_anew() -> None:
    joined = greeted()
    joined.session.queue([b"G4 P0"] * 9, Lane.HOST)
    settle(joined)
    joined.session.start_numbering()
    joined.session.queue([], Lane.FILE, "an empty file")
    settle(joined)
    assert joined.replies.count(CommandsDone("an empty file")) == 1


def test_dropped_lines_and_their_tags_are_gone() -> None:
    joined = greeted()
    session = joined.session
    session.queue(LINES[:100], Lane.FILE, "all")
    assert session.data_to_send(joined.now) != b""
    assert session.drop(Lane.FILE) == 99
    joined.send(False, b"N3 G1 X0 Y0 E0*0\n")
    settle(joined)
    assert CommandsDone("all") not in joined.replies
    assert len(joined.firmware.executed) <= 1


def test_a_run_counts_its_own_lines() -> None:
    joined = greeted()
    joined.print_file(LINES[:100])
    assert joined.session.file_lines_acknowledged == 100
    joined.session.start_numbering()
    assert joined.session.file_lines_acknowledged == 0
    joined.session.queue(LINES[:7], Lane.FILE)
    settle(joined)
    assert joined.session.file_lines_acknowledged == 7
    assert joined.firmware.last_line < 15


def test_a_command_cannot_carry_a_second_one() -> None:
    with pytest.raises(ValueError, match="one line"):
        Session().queue([b"G1 X1\nM112"], Lane.HOST)


def test_a_file_cannot_set_the_line_numbers() -> None:
    joined = greeted()
    joined.print_file([b"G1 X1", b"M110 N0", b"G1 X2"])
    assert joined.firmware.executed == [b"G1 X1", b"G1 X2"]
    assert joined.session.resends == 0


def test_nothing_of_our_own_goes_into_a_file_on_the_card() -> None:
    joined = greeted()
    sent: list[str] = []
    joined.session.on_line = lambda out, text: sent.append(text) if out else None
    joined.session.queue([b"M28 new.gco", *LINES], Lane.HOST)
    joined.run_until(lambda: len(joined.firmware.executed) > len(LINES), 60.0)
    assert not any("M105" in text for text in sent)
    joined.session.queue([b"M29"], Lane.HOST, "saved")
    settle(joined)
    assert CommandsDone("saved") in joined.replies


def card_writer() -> LineFirmware:
    """A firmware that writes what follows M28 to a file, up to M29; `executed` has all of it."""
    firmware = LineFirmware()
    firmware.answers[b"M28"] = lambda body: b"Writing to file: %b\nok\n" % body[4:]
    firmware.answers[b"M29"] = lambda _: b"Done saving file.\nok\n"
    return firmware


def test_a_long_file_is_written_to_a_card_without_a_question_in_it() -> None:
    joined = greeted(card_writer())
    sent: list[str] = []
    joined.session.on_line = lambda out, text: sent.append(text) if out else None
    lines = [b"G1 X%d" % n for n in range(1500)]  # more than can be unconfirmed
    joined.session.start_numbering()
    joined.session.queue([b"M28 new.gco"], Lane.HOST)
    joined.run_until(lambda: SdWriteBegan("new.gco") in joined.replies, 60.0)
    began = len(sent)
    joined.session.queue([*lines, b"M29"], Lane.FILE, "saved")
    joined.run_until(lambda: CommandsDone("saved") in joined.replies, 60.0)
    executed = joined.firmware.executed
    assert executed[executed.index(b"M28 new.gco") + 1 :] == [*lines, b"M29"]
    written = sent[began : next(n for n, text in enumerate(sent) if "M29" in text)]
    assert not any("M105" in text for text in written)
    assert 5 <= len(written) - len(lines) <= 10  # the last line again, every 200
    assert joined.session.resends == 0


def test_lines_are_asked_about_again_once_a_card_does_not_open() -> None:
    firmware = LineFirmware()
    firmware.answers[b"M28"] = lambda _: b"open failed, File: new.gco.\nok\n"
    joined = greeted(firmware)
    joined.session.queue([b"M28 new.gco"], Lane.HOST, "opened")
    settle(joined)
    assert CommandsDone("opened") in joined.replies
    assert SdFailed("open failed, File: new.gco.") in joined.replies


# Emergencies.


@pytest.mark.parametrize("command", [b"M108", b"M410", b"M112"])
def test_an_emergency_goes_ahead_of_everything(command: bytes) -> None:
    session = greeted().session
    session.queue(LINES, Lane.FILE)
    session.data_to_send(100.0)
    session.emergency(command)
    assert session.data_to_send(100.0).startswith(command + b"\n")


def test_m112_goes_out_both_ways_and_empties_the_lanes() -> None:
    session = greeted().session
    session.queue(LINES, Lane.FILE)
    session.data_to_send(100.0)
    session.emergency(b"M112")
    first, second = session.data_to_send(100.0).splitlines()
    assert first == b"M112"
    assert b" M112*" in second
    assert second.startswith(b"N")
    assert session.drop(Lane.FILE) == 0


def test_m112_goes_out_before_the_greeting_too() -> None:
    session = Session()
    session.opened(0.0)
    session.emergency(b"M112")
    assert session.data_to_send(0.0) == b"M112\n"


def test_the_ok_of_an_emergency_is_no_lines() -> None:
    joined = greeted()
    joined.session.queue(LINES[:50], Lane.FILE)
    joined.turn()
    joined.session.emergency(b"M108")
    settle(joined)
    assert [line for line in joined.firmware.executed if line != b"M108"] == LINES[:50]
    assert joined.session.resends == 0


# What is heard.


@pytest.mark.parametrize(
    "transcript", sorted(p.relative_to(TRANSCRIPTS).as_posix() for p in TRANSCRIPTS.glob("*/*.txt"))
)
@given(data=st.data())
def test_how_the_port_cuts_the_bytes_never_changes_what_is_heard(transcript: str, data: st.DataObject) -> None:
    text = (TRANSCRIPTS / transcript).read_text()
    spoken = b"".join(line[2:].encode() + b"\r\n" for line in text.splitlines() if line.startswith("< "))
    cuts = data.draw(st.sets(st.integers(1, len(spoken) - 1), max_size=40))

    def heard(pieces: list[bytes]) -> tuple[list[Reply], Firmware]:
        session = Session()
        session.opened(0.0)
        replies = [reply for piece in pieces for reply in session.receive(piece, 1.0)]
        return replies, session.firmware

    edges = [0, *sorted(cuts), len(spoken)]
    assert heard([spoken[a:b] for a, b in pairwise(edges)]) == heard([spoken])


def test_a_card_is_listed_with_long_names() -> None:
    firmware = LineFirmware()
    firmware.answers[b"M20"] = lambda _: (
        b"Begin file list\nBENCHY~1.GCO 3421903 benchy 0.2mm.gcode\n T:20.0 /0.0 @:0\n"
        b"CUBE.GCO 10233\nEnd file list\nok\n"
    )
    joined = greeted(firmware)
    joined.session.queue([b"M20 L"], Lane.HOST)
    settle(joined)
    listed = SdFilesListed((SdFile("BENCHY~1.GCO", 3421903, "benchy 0.2mm.gcode"), SdFile("CUBE.GCO", 10233)))
    assert listed in joined.replies


def test_a_card_is_listed_with_times() -> None:
    firmware = LineFirmware()
    firmware.answers[b"M20"] = lambda _: (
        b'Begin file list\nBENCHY~1.GCO 3421903 0x55516A37 "benchy 0.2mm.gcode"\n'
        b"CUBE.GCO 10233 0x0\nEnd file list\nok\n"
    )
    joined = greeted(firmware)
    joined.session.queue([b"M20 L T"], Lane.HOST)
    settle(joined)
    benchy = SdFile("BENCHY~1.GCO", 3421903, "benchy 0.2mm.gcode", 0x55516A37)
    assert SdFilesListed((benchy, SdFile("CUBE.GCO", 10233))) in joined.replies


def test_what_firmware_says_in_between_is_passed_on() -> None:
    firmware = LineFirmware()
    firmware.answers[b"G28"] = lambda _: (
        b"echo:busy: processing\nX:0.00 Y:0.00 Z:5.00 E:0.00 Count X:0 Y:0 Z:2000\n//action:pause now\nok\n"
    )
    joined = greeted(firmware)
    joined.session.queue([b"G28"], Lane.HOST)
    settle(joined)
    for reply in (Busy("processing"), PositionReported(0.0, 0.0, 5.0, 0.0), HostAction("pause", "now")):
        assert reply in joined.replies


def test_temperatures_are_asked_for_while_idle_unless_they_are_reported() -> None:
    joined = greeted()
    before = sum(isinstance(reply, TemperaturesReported) for reply in joined.replies)
    joined.run_until(lambda: False, 60.0)
    asked = sum(isinstance(reply, TemperaturesReported) for reply in joined.replies) - before
    assert 10 <= asked <= 13


def test_a_line_without_end_is_dropped_and_costs_no_memory() -> None:
    joined = greeted()
    for _ in range(1000):
        joined.session.receive(b"x" * 10_000, joined.now)
    assert len(joined.session._unread) <= 4096
    assert joined.session.receive(b"rest\n//action:cancel\n", joined.now) == [HostAction("cancel")]


# What ends it.


def test_a_restart_in_a_run_is_told_and_ends_the_file() -> None:
    joined = greeted()
    session = joined.session
    session.queue(LINES, Lane.FILE)
    joined.run_until(lambda: session.file_lines_acknowledged >= 50, 60.0)
    executed = len(joined.firmware.executed)
    joined.firmware.last_line = 0
    joined.replies += session.receive(b"start\necho:Marlin 2.1.2\n", joined.now)
    assert FirmwareRestarted() in joined.replies
    session.queue([b"M104 S0"], Lane.HOST, "off")
    settle(joined)
    assert CommandsDone("off") in joined.replies
    assert joined.firmware.executed[executed + 1 :] in ([b"M104 S0"], [])
    assert b"M104 S0" in joined.firmware.executed


@pytest.mark.parametrize(
    "last", [b"G1 X1", b"G28", b"M109 S200", b"M105", b"M115", b"M28 new.gco", b"M117 Hello", b"T0"]
)
@pytest.mark.parametrize("answered", [False, True])
def test_after_a_restart_no_further_line_of_the_file_is_sent(last: bytes, answered: bool) -> None:
    joined = greeted()
    session = joined.session
    session.queue([last, *LINES], Lane.FILE, "end")
    sent = session.data_to_send(joined.now)
    assert last in sent
    if answered:
        joined.replies += session.receive(joined.firmware.receive(sent), joined.now)
    joined.replies += session.receive(b"start\n", joined.now)
    later: list[str] = []
    session.on_line = lambda out, text: later.append(text) if out else None
    joined.run_until(lambda: False, 20.0)
    assert joined.replies.count(FirmwareRestarted()) == 1
    assert CommandsDone("end") not in joined.replies
    assert later
    assert all("M105" in text or "M110" in text for text in later)


def test_a_reset_whose_banner_was_lost_repeats_no_line() -> None:
    joined = greeted()
    joined.session.queue(LINES, Lane.FILE)
    joined.run_until(lambda: joined.session.file_lines_acknowledged >= 50, 60.0)
    executed = list(joined.firmware.executed)
    joined.firmware.last_line = 0
    joined.run_until(lambda: False, 60.0)
    assert "it was reset" in joined.dead
    assert joined.firmware.executed[: len(executed)] == executed
    assert len(joined.firmware.executed) <= len(executed) + 1


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"Error:Thermal Runaway, system stopped! Heater_ID: 0", ErrorKind.THERMAL),
        (b"Error:MINTEMP triggered, system stopped! Heater_ID: bed", ErrorKind.THERMAL),
        (b"Error:Printer halted. kill() called!", ErrorKind.HALTED),
        (b"!!", ErrorKind.HALTED),
    ],
)
def test_a_fault_drops_what_is_queued(line: bytes, kind: ErrorKind) -> None:
    joined = greeted()
    joined.session.queue(LINES, Lane.FILE)
    assert joined.session.receive(line + b"\n", joined.now) == [FirmwareError(line.decode(), True, kind)]
    assert joined.session.drop(Lane.FILE) == 0


@pytest.mark.parametrize("advanced_ok", [0, 4])
def test_silence_ends_it_within_a_minute(advanced_ok: int) -> None:
    firmware = Deaf(advanced_ok=advanced_ok)
    joined = greeted(firmware)
    joined.session.queue(LINES, Lane.FILE)
    joined.run_until(lambda: joined.session.file_lines_acknowledged >= 50, 60.0)
    firmware.deaf, since, turns = True, joined.now, joined.turns
    joined.run_until(lambda: False, 120.0)
    assert "nothing heard" in joined.dead
    assert joined.now - since <= 60.0
    assert joined.turns - turns < 200


def test_a_resend_without_end_ends_it_within_a_minute() -> None:
    firmware = LineFirmware()
    joined = greeted(firmware)
    joined.session.queue(LINES, Lane.FILE)
    joined.run_until(lambda: joined.session.file_lines_acknowledged >= 50, 60.0)
    firmware.written = {b"no line is what it should be"}
    joined.oracle = False
    since, sent = joined.now, joined.session.lines_sent
    joined.run_until(lambda: False, 120.0)
    assert "does not get through" in joined.dead
    assert joined.now - since <= 60.0
    assert joined.session.lines_sent - sent < 200


def test_a_resend_of_a_line_no_longer_kept_ends_it() -> None:
    joined = greeted()
    joined.session.queue(LINES, Lane.FILE)
    joined.run_until(lambda: joined.session.file_lines_acknowledged >= 300, 60.0)
    since = joined.now
    joined.firmware.last_line = 4
    joined.run_until(lambda: False, 120.0)
    assert "asks for line 5 again" in joined.dead
    assert joined.now - since <= 60.0


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("advanced_ok", [0, 4])
def test_a_link_that_damages_a_third_of_the_bytes_ends_it_within_a_minute(seed: int, advanced_ok: int) -> None:
    link = Flipping(0.0, seed)
    joined = greeted(LineFirmware(advanced_ok=advanced_ok), link)
    joined.session.queue(LINES, Lane.FILE)
    joined.run_until(lambda: joined.session.file_lines_acknowledged >= 100, 60.0)
    link.rate, since, turns = 0.3, joined.now, joined.turns
    joined.run_until(lambda: False, 120.0)
    assert joined.dead
    assert joined.now - since <= 60.0
    assert joined.turns - turns < 5000
    assert joined.firmware.executed == LINES[: len(joined.firmware.executed)]


def test_a_bad_cable_is_told_once() -> None:
    joined = greeted(link=Flipping(0.002, 3))
    joined.print_file(LINES)
    told = [reply for reply in joined.replies if isinstance(reply, DamagedLink)]
    assert len(told) == 1
    assert told[0].damaged * 1000 > told[0].lines


# Patience.


def at_work(command: bytes) -> tuple[Session, float]:
    """A session whose firmware has just been sent `command`, and when."""
    joined = greeted()
    joined.session.queue([command], Lane.HOST)
    assert command in joined.session.data_to_send(joined.now)
    return joined.session, joined.now


def lines_until(
    session: Session, now: float, end: float, says: bytes = b"", every_s: float = 2.0
) -> tuple[int, list[Reply]]:
    """Lines written again from `now` to `end` while the firmware only `says` something; and the replies."""
    written, replies, speaks = 0, [], now + every_s
    while now < end:
        deadline = session.next_deadline()
        now = min(end, speaks if says else end, deadline or end)
        if says and now >= speaks:
            replies += session.receive(says, now)
            speaks += every_s
        replies += session.tick(now)
        written += session.data_to_send(now).count(b"\n")
    return written, replies


@pytest.mark.parametrize("command", [b"G28", b"G29", b"M190 S60", b"M109 S200", b"M400", b"G4 S400", b"M600"])
def test_a_long_command_is_given_its_time(command: bytes) -> None:
    session, now = at_work(command)
    written, replies = lines_until(session, now, now + 300.0)
    assert replies == []
    assert written <= 2


def test_a_long_command_that_never_ends_does_end() -> None:
    session, now = at_work(b"G28")
    _, replies = lines_until(session, now, now + 3600.0)
    assert isinstance(replies[-1], Dead)


def test_busy_extends_the_time_of_any_command() -> None:
    session, now = at_work(b"G1 X1 F1")
    written, replies = lines_until(session, now, now + 600.0, b"echo:busy: processing\n")
    assert set(replies) == {Busy("processing")}
    assert written == 0


def test_heating_that_reports_is_not_hurried() -> None:
    session, now = at_work(b"M109 S200")
    written, replies = lines_until(session, now, now + 900.0, b" " + REPORT + b"\n", 1.0)
    assert not any(isinstance(reply, Dead) for reply in replies)
    assert written == 0


def test_wait_means_that_an_ok_was_lost() -> None:
    session, now = at_work(b"G1 X1")
    session.receive(b"wait\n", now + 1.0)
    assert b"G1 X1*" in session.data_to_send(now + 1.0)


def test_a_resend_without_its_ok_is_answered_soon() -> None:
    session, now = at_work(b"G1 X1")
    session.receive(b"Error:checksum mismatch, Last Line: 2\nResend: 3\n", now + 0.01)
    assert session.data_to_send(now + 0.01) == b""
    deadline = session.next_deadline()
    assert deadline is not None
    assert deadline < now + 0.6
    session.tick(deadline)
    assert b"G1 X1*" in session.data_to_send(deadline)
