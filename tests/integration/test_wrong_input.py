"""What an owner gets wrong is answered by name, and harms nothing."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.processes import Host, host, until

SETTINGS = """
[[printers]]
slug = "fast"
driver = "virtual"
speed = 0

[[printers]]
slug = "slow"
driver = "virtual"
speed = 1

[[printers]]
slug = "unplugged"
driver = "serial"
port = "/dev/serial/by-id/usb-nobody"
"""

SLOW = b"".join(b"G1 X%d F600\nG4 P500\n" % (n % 200) for n in range(500))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with host(tmp_path_factory.mktemp("host"), SETTINGS) as started:
        started.wait_ready("fast")
        started.wait_ready("slow")
        yield started


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/p/nobody/api/job", {"command": "start"}, 404),
        ("/p/fast/api/files/local/nothing.gcode", {"command": "select"}, 404),
        ("/p/fast/api/job", {"command": "start"}, 409),
        ("/p/fast/api/job", {"command": "pause"}, 409),
        ("/p/fast/api/job", {"command": "launch"}, 400),
        ("/p/fast/api/job", {}, 400),
        ("/p/unplugged/api/job", {"command": "start"}, 409),
        ("/p/unplugged/api/printer/command", {"command": "G28"}, 409),
        ("/p/fast/api/connection", {"command": "connect", "port": "/dev/nothing"}, 400),
        ("/p/fast/api/printer/tool", {"command": "target", "targets": {"tool0": 9000}}, 400),
    ],
)
def test_a_wrong_request_gets_its_status_and_a_sentence(
    running: Host, path: str, body: dict[str, object], status: int
) -> None:
    answer = running.post(path, body)
    assert (answer.status_code, bool(answer.json()["error"])) == (status, True), answer.text


def test_without_a_key_nothing_is_told_and_nothing_moves(running: Host) -> None:
    for method, path in (
        ("GET", "/api/files"),
        ("GET", "/api/printer"),
        ("POST", "/api/job"),
        ("POST", "/api/files/local"),
    ):
        answer = running.client.request(method, path, headers={"X-Api-Key": "wrong"}, json={"command": "start"})
        assert answer.status_code == 403, (method, path, answer.text)


def test_half_an_upload_leaves_nothing(running: Host) -> None:
    host_name, port = running.url.removeprefix("http://").split(":")
    with socket.create_connection((host_name, int(port))) as half:
        half.sendall(
            b"POST /api/files/local HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: " + running.key.encode() + b"\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 100000\r\n\r\n"
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="half.gcode"\r\n\r\nG28\nG1 X1\n'
        )
    staging = running.data / "staging"
    until(lambda: not list(staging.iterdir()), "the staging folder to be empty")
    assert running.client.get("/api/files/local/half.gcode").status_code == 404


def test_garbage_is_stored_or_refused_and_the_host_lives(running: Host) -> None:
    answer = running.upload("garbage.gcode", os.urandom(200_000), printer="fast", print="true")
    assert answer.status_code in (201, 415)
    if answer.status_code == 201:
        assert running.wait_ended()["state"] in ("completed", "failed")
    assert running.get("/api/version")["api"] == "0.1"
    running.post("/p/fast/api/connection", {"command": "connect"})
    running.wait_ready("fast")


def test_a_busy_printer_refuses_what_would_disturb_its_run(running: Host) -> None:
    assert running.upload("slow.gcode", SLOW, printer="slow", print="true").json()["effectivePrint"] is True
    until(lambda: running.get("/p/slow/api/printer")["state"]["flags"]["printing"], "the print")
    for path, body in (
        ("/p/slow/api/job", {"command": "start"}),
        ("/p/slow/api/printer/printhead", {"command": "jog", "x": 10}),
        ("/p/slow/api/printer/printhead", {"command": "home", "axes": ["x"]}),
        ("/p/slow/api/printer/tool", {"command": "extrude", "amount": 5}),
        ("/p/slow/api/files/local/slow.gcode", {"command": "select"}),
    ):
        assert running.post(path, body).status_code == 409, (path, body)
    assert running.client.delete("/api/files/local/slow.gcode").status_code == 409
    assert running.upload("slow.gcode", b"G28\n", printer="slow").status_code == 409
    # And what does not disturb it is taken.
    assert running.post("/p/slow/api/printer/command", {"command": "M117 hello"}).status_code == 204
    again = running.upload("later.gcode", b"G28\n", printer="slow", print="true")
    assert (again.status_code, again.json()["effectivePrint"]) == (201, False)
    assert running.post("/p/slow/api/job", {"command": "cancel"}).status_code == 204
    until(lambda: running.get("/p/slow/api/job")["state"] == "Operational", "the cancel")


def test_settings_that_cannot_be_are_refused_before_anything_starts(tmp_path: Path) -> None:
    from tests.integration.processes import polyhost

    wrong = tmp_path / "wrong.toml"
    wrong.write_text("[server]\nprot = 1\n")
    answer = polyhost("serve", "--data", str(tmp_path / "data"), "--config", str(wrong), "--allow-root")
    assert answer.returncode == 2
    assert "did you mean `port`" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_what_lies_in_the_folder_it_is_started_in_is_no_part_of_it(tmp_path: Path) -> None:
    """A folder of downloads may have anything in it, under the names of modules too."""
    for name in ("dataclasses", "msgspec", "json", "polyhost"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not the module that was meant')\n")
    with host(tmp_path, '[[printers]]\nslug = "v"\ndriver = "virtual"\nspeed = 0\n') as server:
        server.wait_ready()  # its engine has begun
        assert server.upload("read.gcode", b"G28\nG1 X10 F600\n").status_code == 201

        def analysis() -> bool:
            return "gcodeAnalysis" in server.get("/api/files/local/read.gcode")

        until(analysis, "the file to be read")
