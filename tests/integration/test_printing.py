"""A file goes in, a print comes out: real processes, a real port, and everything killed that can be killed."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from polyhost.core.job import RunState
from tests.integration.processes import QUESTIONS, Host, PtyPrinter, commands_of, host, of_the_file, until

SMALL = gzip.decompress(
    (Path(__file__).parent.parent / "gcode" / "samples" / "prusaslicer_small.gcode.gz").read_bytes()
)


def excerpt(lines: int) -> bytes:
    """The head of a real file: short enough for a test, with its own start, heating and moves."""
    return b"\n".join(SMALL.splitlines()[:lines]) + b"\n"


def serial(printer: PtyPrinter) -> str:
    return f'[[printers]]\nslug = "mk3"\ndriver = "serial"\nport = "{printer.port}"\nbaud = 115200\n'


@pytest.fixture
def pty_printer(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[PtyPrinter]:
    """A printer on a pty; a test's marker-free way to give it arguments is indirect parametrisation."""
    with PtyPrinter(tmp_path / "printer", getattr(request, "param", ("--speed", "0"))) as printer:
        yield printer


@pytest.fixture
def serial_host(tmp_path: Path, pty_printer: PtyPrinter) -> Iterator[Host]:
    with host(tmp_path / "host", serial(pty_printer)) as running:
        running.wait_ready()
        yield running


def assert_executed_once_and_in_order(printer: PtyPrinter, gcode: bytes) -> None:
    wanted = [line for line in commands_of(gcode) if not line.startswith(QUESTIONS)]
    assert of_the_file(printer.executed(), wanted) == wanted


def test_a_file_uploaded_with_print_is_executed_whole_and_once(serial_host: Host, pty_printer: PtyPrinter) -> None:
    answer = serial_host.upload("cube.gcode", SMALL, print="true")
    assert answer.status_code == 201, answer.text
    assert answer.json()["effectivePrint"] is True
    run = serial_host.wait_ended()
    assert (run["state"], run["path"], run["printer"]) == ("completed", "cube.gcode", "mk3")
    assert_executed_once_and_in_order(pty_printer, SMALL)
    job = serial_host.get("/api/job")
    assert job["progress"]["completion"] == 100.0
    assert job["progress"]["printTimeLeft"] == 0
    assert job["job"]["file"]["path"] == "cube.gcode"


@pytest.mark.parametrize(
    "pty_printer", [("--speed", "0", "--fault", "corrupt=0.01")], indirect=True, ids=["1 in 100 bytes"]
)
def test_damage_on_the_wire_changes_nothing_that_is_executed(serial_host: Host, pty_printer: PtyPrinter) -> None:
    gcode = excerpt(2000)
    assert serial_host.upload("cube.gcode", gcode, print="true").status_code == 201
    assert serial_host.wait_ended(120)["state"] == "completed"
    assert_executed_once_and_in_order(pty_printer, gcode)
    assert pty_printer.statistics()["resends"] > 0


def test_resends_asked_for_out_of_nowhere_change_nothing_that_is_executed(
    serial_host: Host, pty_printer: PtyPrinter
) -> None:
    pty_printer.tell("fault resend 50")
    assert serial_host.upload("cube.gcode", SMALL, print="true").status_code == 201
    assert serial_host.wait_ended(120)["state"] == "completed"
    assert_executed_once_and_in_order(pty_printer, SMALL)


@pytest.mark.parametrize("pty_printer", [("--speed", "0", "--baud", "250000")], indirect=True, ids=["250000 baud"])
def test_the_server_is_killed_ten_times_and_the_print_does_not_notice(
    serial_host: Host, pty_printer: PtyPrinter
) -> None:
    assert serial_host.upload("cube.gcode", SMALL, print="true").status_code == 201
    started = serial_host.runs()[0]
    engines = {engine.pid for engine in serial_host.engines()}
    for _ in range(10):
        serial_host.kill()
        serial_host.start()
    assert {engine.pid for engine in serial_host.engines()} == engines
    # Everything works at once on the server that came back, whatever the print is doing.
    assert serial_host.upload("other.gcode", b"G28\n").status_code == 201
    run = serial_host.wait_ended(180)
    assert (run["state"], run["id"]) == ("completed", started["id"])
    assert len(serial_host.runs()) == 1
    assert_executed_once_and_in_order(pty_printer, SMALL)


@pytest.mark.parametrize("pty_printer", [("--speed", "0", "--baud", "57600")], indirect=True, ids=["57600 baud"])
def test_a_server_that_came_back_can_pause_resume_and_cancel(serial_host: Host, pty_printer: PtyPrinter) -> None:
    assert serial_host.upload("cube.gcode", SMALL, print="true").status_code == 201
    until(lambda: serial_host.get("/api/job")["progress"]["filepos"], "the first lines")
    serial_host.kill()
    serial_host.start()
    assert serial_host.post("/api/job", {"command": "pause", "action": "pause"}).status_code == 204
    until(lambda: serial_host.get("/api/job")["state"] == "Paused", "the pause")
    assert serial_host.post("/api/job", {"command": "pause", "action": "resume"}).status_code == 204
    until(lambda: serial_host.get("/api/job")["state"] == "Printing", "the print to go on")
    assert serial_host.post("/api/job", {"command": "cancel"}).status_code == 204
    assert serial_host.wait_ended()["state"] == "cancelled"
    assert pty_printer.statistics()["targets"] == {"tool0": 0, "bed": 0}


@pytest.mark.parametrize(
    "pty_printer", [("--speed", "0", "--baud", "115200", "--no-reset")], indirect=True, ids=["115200 baud"]
)
def test_a_killed_engine_leaves_the_run_interrupted_the_machine_cold_and_a_way_to_resume(
    serial_host: Host, pty_printer: PtyPrinter
) -> None:
    gcode = excerpt(2500)
    assert serial_host.upload("cube.gcode", gcode, print="true").status_code == 201
    until(lambda: (serial_host.get("/api/job")["progress"]["filepos"] or 0) > 10_000, "some layers")
    assert pty_printer.statistics()["targets"]["tool0"] > 0
    for engine in serial_host.engines():
        engine.kill()
    run = serial_host.wait_ended()
    assert run["state"] == RunState.INTERRUPTED.value
    until(lambda: pty_printer.statistics()["targets"] == {"tool0": 0, "bed": 0}, "the machine to be told off", 15)
    plan = serial_host.get(f"/native/v1/runs/{run['id']}/resume-plan")
    assert plan["warnings"]
    assert 0 < plan["start_byte"] < len(gcode)
    unseen = serial_host.post(f"/native/v1/runs/{run['id']}/resume", {"script": ["G28"]})
    assert unseen.status_code == 409, unseen.text
    serial_host.wait_ready()
    resumed = serial_host.post(f"/native/v1/runs/{run['id']}/resume", {"script": plan["script"]})
    assert resumed.status_code in (200, 201), resumed.text
    assert serial_host.wait_ended(180)["state"] == "completed"
    rest = commands_of(gcode[plan["start_byte"] :])
    assert [line for line in pty_printer.executed() if line in set(rest)][-len(rest) :][-5:] == rest[-5:]
    assert [r["state"] for r in serial_host.runs()] == ["completed", "interrupted"]


def test_pulling_the_cable_fails_the_run_and_the_printer_comes_back_with_it(
    serial_host: Host, pty_printer: PtyPrinter
) -> None:
    gcode = b"M104 S200\n" + b"".join(b"G1 X%d F600\nG4 P200\n" % (n % 200) for n in range(5000))
    assert serial_host.upload("slow.gcode", gcode, print="true").status_code == 201
    until(lambda: serial_host.get("/api/job")["progress"]["filepos"], "the first lines")
    pty_printer.tell("unplug")
    run = serial_host.wait_ended()
    assert run["state"] == "failed"
    assert "link" in run["reason"]
    pty_printer.tell("replug")
    serial_host.wait_ready()
    until(lambda: pty_printer.statistics()["targets"]["tool0"] == 0, "the hotend to be told off")
    assert len(serial_host.runs()) == 1


def test_a_firmware_that_restarts_in_mid_print_gets_no_further_line_of_the_file(
    serial_host: Host, pty_printer: PtyPrinter
) -> None:
    assert serial_host.upload("cube.gcode", SMALL * 4, print="true").status_code == 201
    until(lambda: serial_host.get("/api/job")["progress"]["filepos"], "the first lines")
    pty_printer.tell("fault reset")
    run = serial_host.wait_ended()
    assert run["state"] == "failed"
    assert "restart" in run["reason"] or "reset" in run["reason"]
    after = pty_printer.executed()
    in_file = set(commands_of(SMALL))
    until(
        lambda: serial_host.state() in ("Operational", "Closed", "Offline", "Error", "Offline after error"), "the end"
    )
    assert [line for line in pty_printer.executed()[len(after) :] if line in in_file and line.startswith(b"G1")] == []
