"""One host: what is done through one API is seen through the others, live, for a real process and its printers."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.integration.processes import Host, PtyPrinter, host, polyhost, until
from tests.integration.test_moonraker_gcode import two_parts

VIRTUAL = '[[printers]]\nslug = "one"\ndriver = "virtual"\nspeed = 60\n'
SERIAL = '[[printers]]\nslug = "one"\ndriver = "serial"\nport = "{}"\nbaud = 115200\n'
LAYERS = 10
GCODE = b"M104 S60\nM140 S40\n" + two_parts(LAYERS) + b"M104 S0\nM140 S0\n"
OBJECTS = (
    *("print_stats", "virtual_sdcard", "display_status", "idle_timeout", "pause_resume", "toolhead", "gcode_move"),
    *("extruder", "heater_bed", "webhooks"),
)


class Told:
    """Messages of a WebSocket, kept by a thread of its own."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._more = threading.Condition()
        self.messages: list[Any] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            for message in self._socket:
                with self._more:
                    self.messages.append(json.loads(message))
                    self._more.notify_all()

    def until(self, met: Callable[[list[Any]], Any], what: str) -> Any:
        """The first true answer of `met` to all that was told."""
        with self._more:
            assert self._more.wait_for(lambda: met(self.messages), 60), f"nobody told of {what}"
            return met(self.messages)

    def close(self) -> None:
        self._socket.close()
        self._thread.join(10)


class Moonraker(Told):
    """A front end: what it was told of its printer, field by field, with the updates put together as it would."""

    def __init__(self, socket: ClientConnection) -> None:
        asked = {"objects": dict.fromkeys(OBJECTS)}
        request = {"jsonrpc": "2.0", "method": "printer.objects.subscribe", "params": asked, "id": 1}
        socket.send(json.dumps(request))
        answer = next(told for message in socket if (told := json.loads(message)).get("id") == 1)
        self._first: dict[str, dict[str, Any]] = answer["result"]["status"]
        super().__init__(socket)

    def status(self) -> dict[str, dict[str, Any]]:
        status = {name: dict(fields) for name, fields in self._first.items()}
        for update, _ in self.told_of("notify_status_update"):
            for name, fields in update.items():
                status[name] |= fields
        return status

    def told_of(self, method: str) -> list[Any]:
        return [message["params"] for message in list(self.messages) if message.get("method") == method]

    def sees(self, name: str, **fields: Any) -> None:
        """Return when `fields` are what it was told of the object `name`."""

        def so(_: list[Any]) -> bool:
            told = self.status()[name]
            return all(told[field] == value for field, value in fields.items())

        self.until(so, f"{name} {fields}")

    def states(self) -> list[str]:
        """Of prints, in their order."""
        told = (update["print_stats"] for update, _ in self.told_of("notify_status_update") if "print_stats" in update)
        return [each["state"] for each in told if "state" in each]

    def history(self) -> list[tuple[str, str, str]]:
        told = (params[0] for params in self.told_of("notify_history_changed"))
        return [(each["action"], each["job"]["filename"], each["job"]["status"]) for each in told]

    def files(self) -> list[tuple[str, str]]:
        told = (params[0] for params in self.told_of("notify_filelist_changed"))
        return [(each["action"], each["item"]["path"]) for each in told]


class OctoPrint(Told):
    """An app of OctoPrint's, by its push."""

    def current(self) -> dict[str, Any]:
        return next((message["current"] for message in reversed(list(self.messages)) if "current" in message), {})

    def events(self) -> list[str]:
        return [message["event"]["type"] for message in list(self.messages) if "event" in message]

    def sees(self, text: str) -> dict[str, Any]:
        """`current`, once it says that the printer is in the state `text`."""
        self.until(lambda _: self.current().get("state", {}).get("text") == text, f"the state {text}")
        return self.current()

    def hears(self, event: str) -> None:
        self.until(lambda _: event in self.events(), event)


class Everybody:
    """A host, and those who look at it."""

    def __init__(self, host: Host, moonraker: Moonraker, octoprint: OctoPrint) -> None:
        self.host = host
        self.moonraker = moonraker
        self.octoprint = octoprint

    def run(self, method: str, /, **arguments: Any) -> Any:
        """A request of Moonraker's over HTTP: ``printer.print.start``."""
        answer = self.host.client.post("/" + method.replace(".", "/"), json=arguments)
        assert answer.status_code == 200, answer.text
        return answer.json()["result"]

    def job(self, **command: Any) -> None:
        answer = self.host.post("/api/job", command)
        assert answer.status_code == 204, answer.text

    def polyhost(self, *arguments: str) -> None:
        done = polyhost(*arguments, "--server", self.host.url, "--key", self.host.key)
        assert done.returncode == 0, done.stderr

    def objects(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = self.host.get(f"/printer/objects/query?{'&'.join(OBJECTS)}")["result"][
            "status"
        ]
        return found


@pytest.fixture(scope="module", params=["virtual", "serial"])
def running(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("host")
    with contextlib.ExitStack() as stack:
        settings = VIRTUAL
        if request.param == "serial":
            printer = stack.enter_context(PtyPrinter(folder / "printer", ("--speed", "60")))
            settings = SERIAL.format(printer.port)
        server = stack.enter_context(host(folder / "host", settings))
        server.wait_ready()
        yield server


@pytest.fixture
def all_of_them(running: Host) -> Iterator[Everybody]:
    address, key = running.url.replace("http", "ws"), {"X-Api-Key": running.key}
    with contextlib.ExitStack() as stack:
        front_end = Moonraker(stack.enter_context(connect(f"{address}/websocket", additional_headers=key)))
        stack.callback(front_end.close)
        push = stack.enter_context(connect(f"{address}/sockjs/websocket"))
        user = running.post("/api/login", {"passive": True}).json()
        push.send(json.dumps({"auth": f"{user['name']}:{user['session']}"}))
        app = OctoPrint(push)
        stack.callback(app.close)
        app.until(lambda messages: any("history" in message for message in messages), "what there is")
        yield Everybody(running, front_end, app)
        if running.state() != "Operational":
            running.post("/api/job", {"command": "cancel"})
        running.wait_ready()


def is_between(seen: tuple[float, float], value: float) -> bool:
    """Between two looks at what grows."""
    return seen[0] <= value <= seen[1]


def check_both_tell_the_same(everybody: Everybody, name: str) -> None:
    """Of the print of `name` that goes on: every field that one has in common with the other."""
    front_end, server = everybody.moonraker, everybody.host
    front_end.sees("extruder", target=60.0)
    front_end.sees("heater_bed", target=40.0)
    front_end.until(lambda _: front_end.status()["extruder"]["temperature"] > 58, "heat")
    front_end.until(lambda _: (front_end.status()["print_stats"]["info"]["current_layer"] or 0) > 1, "a second layer")
    front_end.until(lambda _: front_end.status()["print_stats"]["print_duration"] > 0, "printing")
    before, job, after = everybody.objects(), server.get("/api/job"), everybody.objects()
    printer = server.get("/api/printer")

    stats, card, shown = after["print_stats"], after["virtual_sdcard"], after["display_status"]
    assert (stats["filename"], stats["state"], stats["message"]) == (name, "printing", "")
    assert stats["info"]["total_layer"] == LAYERS
    assert 0 < stats["print_duration"] <= stats["total_duration"]
    assert (card["is_active"], card["file_size"]) == (True, len(GCODE))
    assert card["file_path"].endswith(f"/{name}")
    assert shown["progress"] == pytest.approx(card["progress"])
    assert card["progress"] == pytest.approx(card["file_position"] / len(GCODE), abs=0.02)
    assert after["idle_timeout"]["state"] == "Printing"
    assert 0 < after["idle_timeout"]["printing_time"] <= stats["total_duration"] + 1
    assert after["pause_resume"]["is_paused"] is False
    assert (after["extruder"]["target"], after["heater_bed"]["target"]) == (60.0, 40.0)
    assert after["webhooks"]["state"] == "ready"

    assert job["state"] == "Printing"
    assert (job["job"]["file"]["path"], job["job"]["file"]["size"]) == (name, len(GCODE))
    seen = before["virtual_sdcard"]["file_position"], card["file_position"]
    assert is_between(seen, job["progress"]["filepos"]), (seen, job)
    assert is_between(
        (seen[0] / len(GCODE) * 100 - 0.1, seen[1] / len(GCODE) * 100 + 0.1), job["progress"]["completion"]
    )
    times = before["print_stats"]["total_duration"] - 1, stats["total_duration"] + 1
    assert is_between(times, job["progress"]["printTime"])
    assert printer["state"]["flags"]["printing"]
    assert printer["temperature"]["tool0"]["target"] == 60.0
    assert printer["temperature"]["bed"]["target"] == 40.0
    assert printer["temperature"]["tool0"]["actual"] == pytest.approx(after["extruder"]["temperature"], abs=3)

    pushed = everybody.octoprint.sees("Printing")
    assert pushed["job"]["file"]["path"] == name
    everybody.octoprint.until(lambda _: (everybody.octoprint.current()["progress"]["filepos"] or 0) > 0, "progress")

    # What was told piece by piece is what is asked for: nothing that moves is left out of the updates.
    updated = {
        (name, field)
        for update, _ in front_end.told_of("notify_status_update")
        for name in update
        for field in update[name]
    }
    assert updated >= {
        *(("print_stats", field) for field in ("filename", "state", "total_duration", "print_duration", "info")),
        *(("virtual_sdcard", field) for field in ("file_path", "progress", "is_active", "file_position")),
        *(("toolhead", field) for field in ("position", "print_time", "estimated_print_time")),
        *(("display_status", "progress"), ("idle_timeout", "state"), ("idle_timeout", "printing_time")),
        *(("print_stats", "filament_used"), ("gcode_move", "position"), ("extruder", "temperature")),
    }


def check_its_end(everybody: Everybody, name: str, moonraker: str, octoprint: str, native: str) -> None:
    front_end = everybody.moonraker
    front_end.until(lambda _: ("finished", name, moonraker) in front_end.history(), "an end in the history")
    assert front_end.history() == [("added", name, "in_progress"), ("finished", name, moonraker)]
    everybody.octoprint.hears(octoprint)
    everybody.octoprint.sees("Operational")
    [newest] = everybody.host.get("/server/history/list?limit=1&order=desc")["result"]["jobs"]
    assert (newest["filename"], newest["status"]) == (name, moonraker)
    assert newest["end_time"] >= newest["start_time"]
    assert everybody.host.runs()[0]["state"] == native
    front_end.sees("virtual_sdcard", is_active=False)
    front_end.sees("idle_timeout", state="Ready")


def test_a_print_that_moonraker_starts(all_of_them: Everybody) -> None:
    front_end, app = all_of_them.moonraker, all_of_them.octoprint
    sent = all_of_them.host.client.post("/server/files/upload", files={"file": ("by_moonraker.gcode", GCODE)})
    assert sent.status_code == 201
    app.hears("FileAdded")
    assert all_of_them.host.get("/api/files/local/by_moonraker.gcode")["size"] == len(GCODE)
    assert all_of_them.run("printer.print.start", filename="by_moonraker.gcode") == "ok"
    app.hears("PrintStarted")
    check_both_tell_the_same(all_of_them, "by_moonraker.gcode")

    all_of_them.job(command="pause", action="pause")
    front_end.sees("print_stats", state="paused")
    front_end.sees("pause_resume", is_paused=True)
    assert app.sees("Paused")["state"]["flags"]["paused"]
    app.hears("PrintPaused")
    assert all_of_them.run("printer.print.resume") == "ok"
    app.hears("PrintResumed")
    app.sees("Printing")
    front_end.sees("pause_resume", is_paused=False)
    check_its_end(all_of_them, "by_moonraker.gcode", "completed", "PrintDone", "completed")
    front_end.sees("print_stats", state="complete")
    assert front_end.states() == ["printing", "paused", "printing", "complete"]
    assert front_end.status()["virtual_sdcard"]["progress"] == all_of_them.objects()["virtual_sdcard"]["progress"]


def test_a_print_that_octoprint_starts(all_of_them: Everybody) -> None:
    front_end, app = all_of_them.moonraker, all_of_them.octoprint
    assert all_of_them.host.upload("by_octoprint.gcode", GCODE, print="true").status_code == 201
    front_end.until(lambda _: ("create_file", "by_octoprint.gcode") in front_end.files(), "the file")
    front_end.sees("print_stats", state="printing", filename="by_octoprint.gcode")
    check_both_tell_the_same(all_of_them, "by_octoprint.gcode")
    assert all_of_them.run("printer.print.pause") == "ok"
    assert app.sees("Paused")["state"]["flags"]["paused"]
    all_of_them.job(command="pause", action="resume")
    front_end.sees("print_stats", state="printing")
    assert all_of_them.run("printer.print.cancel") == "ok"
    check_its_end(all_of_them, "by_octoprint.gcode", "cancelled", "PrintCancelled", "cancelled")
    front_end.sees("print_stats", state="cancelled")


def test_a_print_that_the_command_line_starts(all_of_them: Everybody, tmp_path: Path) -> None:
    front_end, app = all_of_them.moonraker, all_of_them.octoprint
    (tmp_path / "by_hand.gcode").write_bytes(GCODE)
    all_of_them.polyhost("print", str(tmp_path / "by_hand.gcode"), "--on", "one")
    app.hears("PrintStarted")
    front_end.sees("print_stats", state="printing", filename="by_hand.gcode")
    check_both_tell_the_same(all_of_them, "by_hand.gcode")
    all_of_them.polyhost("pause", "one")
    front_end.sees("print_stats", state="paused")
    app.sees("Paused")
    all_of_them.job(command="cancel")
    check_its_end(all_of_them, "by_hand.gcode", "cancelled", "PrintCancelled", "cancelled")


def test_a_temperature_is_everybody_s(all_of_them: Everybody) -> None:
    front_end, server = all_of_them.moonraker, all_of_them.host

    def target(heater: str) -> float:
        return float(server.get("/api/printer")["temperature"][heater]["target"])

    all_of_them.run("printer.gcode.script", script="SET_HEATER_TEMPERATURE HEATER=extruder TARGET=50")
    until(lambda: target("tool0") == 50.0, "OctoPrint to see Moonraker's target")
    assert server.post("/api/printer/bed", {"command": "target", "target": 35}).status_code == 204
    front_end.sees("heater_bed", target=35.0)
    answer = server.post("/native/v1/printers/one/targets", {"tool0": 45})
    assert answer.status_code < 300, answer.text
    front_end.sees("extruder", target=45.0)
    until(lambda: target("tool0") == 45.0, "OctoPrint to see the native target")
    all_of_them.run("printer.gcode.script", script="TURN_OFF_HEATERS")
    until(lambda: (target("tool0"), target("bed")) == (0.0, 0.0), "OctoPrint to see that all is off")


def test_a_console_is_everybody_s(all_of_them: Everybody) -> None:
    front_end, server = all_of_them.moonraker, all_of_them.host

    def responses() -> str:
        return "\n".join(params[0] for params in front_end.told_of("notify_gcode_response"))

    assert server.post("/api/printer/command", {"command": "M115"}).status_code == 204
    front_end.until(lambda _: "FIRMWARE_NAME" in responses(), "the firmware's name")
    kept = server.get("/server/gcode_store")["result"]["gcode_store"]
    assert any("FIRMWARE_NAME" in entry["message"] for entry in kept if entry["type"] == "response")
    all_of_them.run("printer.gcode.script", script="M119")
    app = all_of_them.octoprint
    app.until(
        lambda messages: any("Send: " in line and "M119" in line for line in logs_of(messages)), "what Moonraker sent"
    )


def logs_of(messages: list[Any]) -> list[str]:
    return [line for message in messages for line in message.get("current", {}).get("logs", ())]


def test_files_are_everybody_s(all_of_them: Everybody) -> None:
    front_end, server, app = all_of_them.moonraker, all_of_them.host, all_of_them.octoprint

    def there(path: str) -> int:
        return server.client.get(f"/api/files/local/{path}").status_code

    assert server.client.post("/api/files/local", data={"foldername": "shelf"}).status_code == 201
    assert server.upload("part.gcode", b"G28\n").status_code == 201
    front_end.until(
        lambda _: {("create_dir", "shelf"), ("create_file", "part.gcode")} <= set(front_end.files()), "both"
    )
    all_of_them.run("server.files.move", source="gcodes/part.gcode", dest="gcodes/shelf/moved.gcode")
    assert (there("part.gcode"), there("shelf/moved.gcode")) == (404, 200)
    app.hears("FileMoved")
    renamed = {"command": "move", "destination": "moved.gcode"}
    assert server.post("/api/files/local/shelf/moved.gcode", renamed).status_code == 201
    front_end.until(lambda _: ("move_file", "moved.gcode") in front_end.files(), "OctoPrint's move")
    assert server.client.delete("/server/files/gcodes/moved.gcode").status_code == 200
    app.hears("FileRemoved")
    assert there("moved.gcode") == 404
    assert server.client.delete("/api/files/local/shelf").status_code == 204
    front_end.until(lambda _: ("delete_dir", "shelf") in front_end.files(), "OctoPrint's removal")


def test_webcams_are_everybody_s(all_of_them: Everybody) -> None:
    front_end, server = all_of_them.moonraker, all_of_them.host
    camera = {"name": "front", "stream_url": "http://cam.local/stream", "snapshot_url": "http://cam.local/still"}
    made = all_of_them.run("server.webcams.item", **camera, flip_horizontal=True)["webcam"]
    seen = server.get("/api/settings")["webcam"]
    assert (seen["streamUrl"], seen["snapshotUrl"]) == (camera["stream_url"], camera["snapshot_url"])
    assert seen["flipH"] is True
    changed = server.post("/api/settings", {"webcam": {"streamUrl": "http://cam.local/other"}})
    assert changed.status_code == 200
    front_end.until(lambda _: len(front_end.told_of("notify_webcams_changed")) >= 2, "OctoPrint's change")
    assert front_end.told_of("notify_webcams_changed")[-1][0]["webcams"][0]["stream_url"] == "http://cam.local/other"
    assert server.client.delete("/server/webcams/item", params={"uid": made["uid"]}).status_code == 200


def test_users_are_everybody_s(all_of_them: Everybody) -> None:
    front_end, server = all_of_them.moonraker, all_of_them.host
    made = server.client.post("/access/user", json={"username": "ana", "password": "correct horse"})
    assert made.status_code == 200, made.text
    with httpx.Client(base_url=server.url) as nobody:
        token = {"Authorization": f"Bearer {made.json()['result']['token']}"}
        assert nobody.get("/printer/info", headers=token).status_code == 200
        assert nobody.get("/api/job", headers=token).status_code == 200
        logged_in = nobody.post("/api/login", json={"user": "ana", "pass": "correct horse"})
        assert (logged_in.status_code, logged_in.json()["name"]) == (200, "ana")
        assert "ana" in {user["name"] for user in server.get("/api/access/users")["users"]}
        front_end.until(lambda _: front_end.told_of("notify_user_created"), "the user")
        assert server.client.delete("/api/access/users/ana").status_code == 200
        front_end.until(lambda _: front_end.told_of("notify_user_deleted"), "the user's end")
        assert nobody.get("/printer/info", headers=token).status_code == 401
        assert "ana" not in {user["username"] for user in server.get("/access/users/list")["result"]["users"]}
