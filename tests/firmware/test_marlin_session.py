"""The host's half of the conversation, against `LineFirmware` and against written transcripts."""

from polyhost.firmware.marlin.replies import CommandsDone, Dead, Reply
from polyhost.firmware.marlin.session import Lane, Session
from tests.firmware.line_firmware import LineFirmware


def printed(session: Session, firmware: LineFirmware, lines: list[bytes], until: float = 600.0) -> list[Reply]:
    """Greet, send `lines` as a file, and return all replies; ends when the last line is confirmed, or at `until`."""
    now = 0.0
    replies: list[Reply] = []
    left: list[bytes] | None = None
    session.opened(now)
    while now < until and not any(isinstance(reply, CommandsDone | Dead) for reply in replies):
        if session.greeted:
            if left is None:
                session.start_numbering()
                left = list(lines)
            if left and session.room():
                batch = left[: session.room()]
                del left[: len(batch)]
                session.queue(batch, Lane.FILE, None if left else "end")
        if data := session.data_to_send(now):
            now += len(data) / 11520.0
            replies += session.receive(firmware.receive(data), now)
        else:
            deadline = session.next_deadline()
            assert deadline is not None
            now = max(now, deadline)
            replies += session.tick(now)
    return replies


def test_a_file_goes_through_one_line_at_a_time() -> None:
    session, firmware = Session(), LineFirmware()
    lines = [b"G1 X%d" % n for n in range(1000)]
    assert CommandsDone("end") in printed(session, firmware, lines)
    assert firmware.executed == lines
    assert session.file_lines_acknowledged == 1000
    assert session.idle
    assert session.resends == 0
