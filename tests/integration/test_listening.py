"""Who listens to a real process hears a real print, and the server's going and coming back."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.integration.processes import Host, host

GCODE = (
    b"G28\nT0\nG1 Z0.2 F600\n"
    + b"".join(b"G1 X%d Y%d E1 F6000\n" % (n % 90, n % 70) for n in range(300))
    + b"G1 Z0.4\n"
)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Host]:
    with host(tmp_path, '[[printers]]\nslug = "v"\ndriver = "virtual"\nspeed = 0\n') as it:
        it.wait_ready()
        yield it


@contextlib.contextmanager
def listening(running: Host) -> Iterator[ClientConnection]:
    with connect(running.url.replace("http", "ws") + "/sockjs/websocket") as socket:
        user = running.post("/api/login", {"passive": True}).json()
        socket.send(json.dumps({"auth": f"{user['name']}:{user['session']}"}))
        while "history" not in json.loads(socket.recv(10)):
            pass
        yield socket


def test_a_print_is_heard_from_its_upload_to_its_end(running: Host) -> None:
    order: list[str] = []
    last: dict[str, Any] = {}
    sent: list[str] = []
    with listening(running) as socket:
        assert running.upload("heard.gcode", GCODE, print="true").status_code == 201
        while "PrintDone" not in order or last.get("progress", {}).get("completion") != 100.0 or not sent:
            [(kind, payload)] = json.loads(socket.recv(30)).items()
            if kind == "event":
                state = payload["payload"] or {}
                order.append(state["state_id"] if "state_id" in state else payload["type"])
            elif kind == "current":
                last = payload
                sent += [line for line in payload["logs"] if line.startswith("Send: ") and "G1 X" in line]
    begun = ["STARTING", "PrintStarted", "ChartMarked", "PRINTING"]
    ended = ["FINISHING", "ChartMarked", "PrintDone", "MetadataStatisticsUpdated", "OPERATIONAL"]
    told = [name for name in order if name in {*begun, *ended}]
    assert told == [*begun, *ended]
    assert {"FileAdded", "Upload", "Home", "ToolChange"} <= set(order)
    assert order.count("ZChange") == 2
    assert any("*" in line for line in sent), sent[-3:]  # as it was on the wire
    assert [mark["type"] for mark in last["markings"]][-2:] == ["print", "done"]
    assert last["state"]["text"] == "Operational"
    assert last["job"]["file"]["path"] == "heard.gcode"


def test_a_server_that_stops_says_goodbye_and_is_found_again(running: Host) -> None:
    with listening(running) as socket:
        running.stop()
        with contextlib.suppress(ConnectionClosed):
            while True:
                socket.recv(10)
        assert socket.close_code == 1001
    running.start()
    running.wait_ready()
    with listening(running):
        pass
