"""Files on the printer's own card, as OctoPrint's clients see and use them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from polyhost.config import Printer as Settings
from polyhost.core.card import CardFile, CardTransfer
from polyhost.core.events import CardTransferChanged, FileSelected
from polyhost.core.job import RunSignal
from polyhost.core.user import Role
from polyhost.dialects.octoprint.current import Busy, busy_files_of
from polyhost.dialects.octoprint.events import About, events_of
from tests.web.hosting import GCODE, Hosted, hosted

CUBE = CardFile("CUBE.GCO", 46, "cube.gcode", 1_700_000_000.4)
PLAIN = CardFile("PLAIN.G")


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Hosted]:
    async with hosted(tmp_path) as one:
        one.machine.card = (CUBE, PLAIN, CardFile("NOTES.TXT", 3))
        await one.machine.read_card()
        yield one


async def until(one: Hosted, condition: object) -> None:
    with one.host.bus.listen() as listener:
        while not condition():  # type: ignore[operator]
            await anext(listener)


class TestLists:
    async def test_the_card_is_listed_by_itself_and_beside_the_library(self, one: Hosted) -> None:
        await one.put("a.gcode")
        cube = {
            "name": "cube.gco",
            "display": "cube.gcode",
            "path": "cube.gco",
            "origin": "sdcard",
            "refs": {"resource": "http://127.0.0.1:8080/api/files/sdcard/cube.gco"},
            "size": 46,
            "date": 1_700_000_000,
            "type": "machinecode",
            "typePath": ["machinecode", "gcode"],
        }
        async with one.client(role=Role.VIEWER) as client:
            listed = (await client.get("/api/files/sdcard")).json()
            assert listed["files"][0] == cube
            assert listed.keys() == {"files"}
            plain = listed["files"][1]
            assert (plain["name"], plain["display"]) == ("plain.g", "plain.g")
            assert not plain.keys() & {"size", "date"}
            both = (await client.get("/api/files")).json()["files"]
            assert [(file["origin"], file["name"]) for file in both] == [
                ("local", "a.gcode"),
                ("sdcard", "cube.gco"),
                ("sdcard", "plain.g"),
            ]
            assert [file["origin"] for file in (await client.get("/api/files/local")).json()["files"]] == ["local"]
            assert (await client.get("/api/files?filter=model")).json()["files"] == []
            for name in ("cube.gco", "CUBE.GCO", "cube.gcode"):
                assert (await client.get(f"/api/files/sdcard/{name}")).json() == cube, name
            assert (await client.get("/api/files/sdcard/gone.gco")).status_code == 404
            assert (await client.get("/api/files/sdcard/notes.txt")).status_code == 404

    async def test_force_has_it_listed_again(self, one: Hosted) -> None:
        async with one.client(role=Role.VIEWER) as client:
            await client.get("/api/files/sdcard")
            assert one.machine.refreshed == 0
            one.machine.card = (CUBE,)
            for path in ("/api/files/sdcard?force=true", "/api/files?force=true"):
                listed = (await client.get(path)).json()["files"]
                assert [file["name"] for file in listed] == ["cube.gco"]
            assert one.machine.refreshed == 2

    async def test_a_key_for_another_printer_does_not_see_it(self, tmp_path: Path) -> None:
        async with hosted(tmp_path, printers=(Settings("one", "virtual"), Settings("two", "virtual"))) as host:
            host.machines["one"].card = (CUBE,)
            await host.machines["one"].read_card()
            async with host.client(await host.key_of(Role.OPERATOR, "two")) as client:
                for path in ("/api/files", "/api/files/sdcard"):
                    assert (await client.get(path)).json()["files"] == [], path
                assert (await client.get("/api/files/sdcard/cube.gco")).status_code == 404
                assert (await client.get("/p/one/api/files/sdcard")).status_code == 403
                assert "cube" not in (await client.get("/p/one/api/files")).text


class TestSd:
    async def test_init_refresh_release(self, one: Hosted) -> None:
        async with one.client(role=Role.OPERATOR) as client:
            for command, ready in (("init", True), ("refresh", True), ("release", False)):
                assert (await client.post("/api/printer/sd", json={"command": command})).status_code == 204
                assert (await client.get("/api/printer/sd")).json() == {"ready": ready}
            assert (await client.get("/api/files/sdcard")).json() == {"files": []}
            for command in ("refresh", "release"):
                assert (await client.post("/api/printer/sd", json={"command": command})).status_code == 409
            assert (await client.post("/api/printer/sd", json={"command": "init"})).status_code == 204
            assert (await client.post("/api/printer/sd", json={"command": "eject"})).status_code == 400

    async def test_who_does_not_want_the_card_used_has_none(self, one: Hosted) -> None:
        one.machine.say(card_used=False, sd_ready=False)
        async with one.client(role=Role.ADMINISTRATOR) as client:
            assert (await client.get("/api/printer/sd")).status_code == 404
            assert (await client.post("/api/printer/sd", json={"command": "init"})).status_code == 404
            assert "sd" not in (await client.get("/api/printer")).json()
            assert (await client.get("/api/files/sdcard")).json() == {"files": []}
            sent = await client.post("/api/files/sdcard", files={"file": ("a.gcode", GCODE)})
            assert sent.status_code == 404
            await one.put("a.gcode")
            asked = await client.post("/api/files/local/a.gcode", json={"command": "uploadSd"})
            assert asked.status_code == 400


class TestPrinting:
    async def test_a_file_of_the_card_is_chosen_and_printed(self, one: Hosted) -> None:
        await one.put("cube.gco")  # the library's of that name is another
        async with one.client(role=Role.OPERATOR) as client:
            select = {"command": "select"}
            assert (await client.post("/api/files/sdcard/gone.gco", json=select)).status_code == 404
            assert (await client.post("/api/files/sdcard/cube.gco", json=select)).status_code == 204
            job = (await client.get("/api/job")).json()
            assert job["job"]["file"] == {
                "name": "cube.gco",
                "display": "cube.gcode",
                "path": "cube.gco",
                "origin": "sdcard",
                "size": 46,
                "date": 1_700_000_000,
            }
            assert job["job"]["estimatedPrintTime"] is None
            assert (await client.post("/api/job", json={"command": "start"})).status_code == 204
            order = one.machine.order
            assert order is not None
            assert (order.on_card, order.name, order.file) == (True, "CUBE.GCO", "")
            state = (await client.get("/api/printer")).json()["state"]
            assert state["text"] == "Printing from SD"
            assert state["flags"]["printing"]
            for refused in (
                client.delete("/api/files/sdcard/cube.gco"),
                client.post("/api/files/sdcard/plain.g", json=select),
                client.post("/api/printer/sd", json={"command": "refresh"}),
                client.post("/api/files/sdcard", files={"file": ("a.gcode", GCODE)}),
            ):
                assert (await refused).status_code == 409
            assert (await client.delete("/api/files/local/cube.gco")).status_code == 204
            one.machine.signal(RunSignal.END_OF_FILE, RunSignal.FINISH_DONE, file_bytes=46, size_bytes=46)
            await one.ended()
            job = (await client.get("/api/job")).json()
            assert (job["state"], job["progress"]["completion"]) == ("Operational", 100.0)
            (run,) = await one.host.runs.history()
            assert (run.on_card, run.path, run.size_bytes) == (True, "CUBE.GCO", 46)
            assert (await client.delete("/api/files/sdcard/cube.gco")).status_code == 204
            assert (await client.get("/api/job")).json()["job"]["file"]["name"] is None

    async def test_select_and_print_and_unselect(self, one: Hosted) -> None:
        async with one.client(role=Role.OPERATOR) as client:
            asked = await client.post("/api/files/sdcard/plain.g", json={"command": "select", "print": True})
            assert asked.status_code == 204
            assert (await client.post("/api/job", json={"command": "cancel"})).status_code == 204
            await one.ended()
            assert (await client.post("/api/files/sdcard/cube.gco", json={"command": "unselect"})).status_code == 400
            assert (await client.post("/api/files/sdcard/plain.g", json={"command": "unselect"})).status_code == 204
            assert (await client.post("/api/job", json={"command": "start"})).status_code == 409

    @pytest.mark.parametrize(
        ("command", "status"),
        [
            ({"command": "copy", "destination": "x"}, 400),
            ({"command": "move", "destination": "x"}, 400),
            ({"command": "uploadSd"}, 400),
            ({"command": "analyse"}, 400),
            ({"command": "slice"}, 415),
        ],
    )
    async def test_what_cannot_be_done_on_a_card(self, one: Hosted, command: dict[str, str], status: int) -> None:
        async with one.client(role=Role.ADMINISTRATOR) as client:
            assert (await client.post("/api/files/sdcard/cube.gco", json=command)).status_code == status

    async def test_a_viewer_only_looks(self, one: Hosted) -> None:
        async with one.client(role=Role.VIEWER) as client:
            for asked in (
                client.delete("/api/files/sdcard/cube.gco"),
                client.post("/api/files/sdcard/cube.gco", json={"command": "select"}),
                client.post("/api/printer/sd", json={"command": "init"}),
                client.post("/api/files/sdcard", files={"file": ("a.gcode", GCODE)}),
            ):
                assert (await asked).status_code == 403


class TestTransfers:
    async def test_a_file_is_kept_and_sent_to_the_card(self, one: Hosted) -> None:
        async with one.client(role=Role.OPERATOR) as client:
            sent = await client.post("/api/files/sdcard", files={"file": ("Long name of it.gcode", GCODE)})
            assert sent.status_code == 201
            base = "http://127.0.0.1:8080"
            local = f"{base}/api/files/local/Long%20name%20of%20it.gcode"
            assert sent.json() == {
                "done": False,
                "effectiveSelect": False,
                "effectivePrint": False,
                "files": {
                    "local": {
                        "name": "Long name of it.gcode",
                        "path": "Long name of it.gcode",
                        "origin": "local",
                        "refs": {
                            "resource": local,
                            "download": f"{base}/downloads/files/local/Long%20name%20of%20it.gcode",
                        },
                    },
                    "sdcard": {
                        "name": "long_n~1.gco",
                        "path": "long_n~1.gco",
                        "origin": "sdcard",
                        "refs": {"resource": f"{base}/api/files/sdcard/long_n~1.gco"},
                    },
                },
            }
            assert sent.headers["location"] == f"{base}/api/files/sdcard/long_n~1.gco"
            job = (await client.get("/api/job")).json()
            assert (job["state"], job["job"]["file"]["origin"]) == ("Sending file to SD", "sdcard")
            assert job["progress"]["completion"] == 50.0
            flags = (await client.get("/api/printer")).json()["state"]["flags"]
            assert (flags["printing"], flags["ready"]) == (True, False)
            for refused in (
                client.post("/api/job", json={"command": "start"}),
                client.post("/api/job", json={"command": "pause"}),
                client.post("/api/printer/printhead", json={"command": "jog", "x": 1}),
                client.post("/api/files/sdcard/cube.gco", json={"command": "select"}),
                client.post("/api/files/sdcard", files={"file": ("b.gcode", GCODE)}),
                client.delete("/api/files/sdcard/cube.gco"),
            ):
                assert (await refused).status_code == 409
            one.machine.end_transfer("done")
            names = [file["name"] for file in (await client.get("/api/files/sdcard")).json()["files"]]
            assert names == ["cube.gco", "plain.g", "long_n~1.gco"]
            again = await client.post("/api/files/sdcard", files={"file": ("Long name of it.gcode", GCODE)})
            assert again.json()["files"]["sdcard"]["name"] == "long_n~2.gco"

    async def test_a_transfer_is_cancelled_as_a_print_is(self, one: Hosted) -> None:
        async with one.client(role=Role.OPERATOR) as client:
            await client.post("/api/files/sdcard", files={"file": ("a.gcode", GCODE)}, data={"print": "true"})
            assert (await client.post("/api/job", json={"command": "cancel"})).status_code == 204
            assert (await client.get("/api/job")).json()["state"] == "Operational"
        assert one.machine.order is None

    @pytest.mark.parametrize("wish", ["select", "print"])
    async def test_what_was_wished_for_is_done_when_the_file_is_there(self, one: Hosted, wish: str) -> None:
        await one.put("a.gcode")
        async with one.client(role=Role.OPERATOR) as client:
            asked = await client.post("/api/files/local/a.gcode", json={"command": "uploadSd", wish: True})
            assert asked.status_code == 201
            assert asked.json()["file"]["path"] == "a.gco"
            assert asked.json()["effectivePrint"] == (wish == "print")
            assert not one.host.printers.default().selected
            one.machine.end_transfer("done")
            printer = one.host.printers.default()
            await until(one, lambda: printer.selected_on_card)
            assert printer.selected == "A.GCO"
            assert (one.machine.order is not None) == (wish == "print")

    async def test_no_card_takes_no_file(self, one: Hosted) -> None:
        await one.machine.release_card()
        await one.put("b.gcode")
        async with one.client(role=Role.OPERATOR) as client:
            sent = await client.post("/api/files/sdcard", files={"file": ("a.gcode", GCODE)})
            assert sent.status_code == 409
            assert (await client.get("/api/files/local/a.gcode")).status_code == 404
            asked = await client.post("/api/files/local/b.gcode", json={"command": "uploadSd"})
            assert asked.status_code == 409
            folder = await client.post("/api/files/sdcard", json={"foldername": "x"})
            assert folder.status_code in {400, 409}


class TestPush:
    async def test_transfers_and_choices_are_told_in_the_words_of_the_original(self, one: Hosted) -> None:
        about = About(one.host, one.host.printers.default())
        started = CardTransferChanged("one", "sub/a.gcode", "A.GCO", "started")
        assert [(told.type, told.payload) for told in events_of(started, about)] == [
            ("PrinterStateChanged", {"state_id": "STARTING", "state_string": "Starting to send file to SD"}),
            ("TransferStarted", {"local": "sub/a.gcode", "remote": "a.gco"}),
            ("PrinterStateChanged", {"state_id": "PRINTING", "state_string": "Sending file to SD"}),
        ]
        for state, name in (("done", "TransferDone"), ("failed", "TransferFailed")):
            ended = CardTransferChanged("one", "sub/a.gcode", "A.GCO", state, 4.5)
            assert [(told.type, told.payload) for told in events_of(ended, about)] == [
                ("PrinterStateChanged", {"state_id": "OPERATIONAL", "state_string": "Operational"}),
                (name, {"local": "sub/a.gcode", "remote": "a.gco", "time": 4.5}),
            ]
        (chosen,) = events_of(FileSelected("one", "CUBE.GCO", True), about)
        assert chosen.payload == {
            "name": "cube.gco",
            "path": "cube.gco",
            "origin": "sdcard",
            "size": 46,
            "owner": None,
            "user": None,
        }

    async def test_files_in_use_are_told(self, one: Hosted) -> None:
        transfer = CardTransfer("sub/a.gcode", "A.GCO", 10)
        assert busy_files_of(None, transfer) == [Busy("local", "sub/a.gcode"), Busy("sdcard", "a.gco")]
