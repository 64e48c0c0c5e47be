"""The printer's own card over a real server, a real port, and a server that is killed in between."""

from pathlib import Path

from tests.integration.processes import QUESTIONS, PtyPrinter, commands_of, host, of_the_file, until
from tests.integration.test_printing import excerpt, serial


def test_a_file_is_sent_to_the_card_and_printed_from_it(tmp_path: Path) -> None:
    gcode = excerpt(400)
    wanted = [line for line in commands_of(gcode) if not line.startswith(b"M105")]
    with (
        PtyPrinter(tmp_path / "printer", ("--speed", "0")) as printer,
        host(tmp_path / "host", serial(printer)) as running,
    ):
        running.wait_ready()
        until(lambda: running.get("/api/printer")["sd"]["ready"], "a card")
        sent = running.upload("cube.gcode", gcode, location="sdcard", print="true")
        assert sent.status_code == 201, sent.text
        assert sent.json()["done"] is False
        assert sent.json()["files"]["sdcard"]["path"] == "cube.gco"
        run = running.wait_ended()
        assert (run["state"], run["path"]) == ("completed", "CUBE.GCO"), run
        assert printer.statistics()["card"]["CUBE.GCO"].encode().splitlines() == wanted
        executed = printer.executed()
        printed = executed[executed.index(b"M24") :]  # before that they were written
        assert of_the_file(printed, wanted) == [line for line in wanted if not line.startswith(QUESTIONS)]
        job = running.get("/api/job")
        assert (job["job"]["file"]["origin"], job["progress"]["completion"]) == ("sdcard", 100.0)
        listed = {file["path"]: file for file in running.get("/api/files")["files"]}
        assert listed["cube.gco"]["origin"] == "sdcard"
        assert listed["cube.gcode"]["origin"] == "local"


def test_a_killed_server_finds_its_transfer_again(tmp_path: Path) -> None:
    with (
        PtyPrinter(tmp_path / "printer", ("--speed", "0", "--baud", "250000")) as printer,
        host(tmp_path / "host", serial(printer).replace("115200", "250000")) as running,
    ):
        running.wait_ready()
        until(lambda: running.get("/api/printer")["sd"]["ready"], "a card")
        gcode = excerpt(3000)
        assert running.upload("cube.gcode", gcode, location="sdcard").status_code == 201
        until(lambda: running.state() == "Sending file to SD", "the transfer")
        running.kill()
        running.start()
        until(lambda: running.get("/api/files/sdcard")["files"], "the file on the card")
        assert running.state() == "Operational"
        wanted = [line for line in commands_of(gcode) if not line.startswith(b"M105")]
        assert printer.statistics()["card"]["CUBE.GCO"].encode().splitlines() == wanted
