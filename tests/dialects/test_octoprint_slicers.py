"""The slicers people have, byte for byte: tested, uploaded, printed to the end, against a real server process."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.dialects.slicers import GCODE, SLICERS, Cura, LibcurlSlicer, head, once, prusaslicer, superslicer
from tests.integration.processes import Host, free_port, host, until

Slicer = Callable[..., LibcurlSlicer]


class Farm:
    """A host with two virtual printers: ``mk3``, which is meant when none is named, and ``mini`` on its own port."""

    def __init__(self, running: Host, door: int, own_port: int) -> None:
        self.running = running
        self.port = int(running.url.rsplit(":", 1)[1])
        self.door = door
        self.own_port = own_port
        self.key = running.key
        self.looker = self.key_of(role="viewer")
        self.only_mk3 = self.key_of(role="operator", printers=["mk3"])
        self.only_mini = self.key_of(role="operator", printers=["mini"])

    def key_of(self, **wanted: object) -> str:
        answer = self.running.post("/native/v1/keys", wanted)
        assert answer.status_code == 201, answer.text
        secret: str = answer.json()["secret"]
        return secret

    def printed(self, path: str) -> str:
        """The printer that printed `path` to the end, once it has."""

        def done() -> dict[str, Any] | None:
            runs = [run for run in self.running.runs() if run["path"] == path]
            return runs[0] if runs and runs[0]["state"] == "completed" else None

        run = until(done, f"{path} to be printed", 30)
        assert run is not None
        printer: str = run["printer"]
        self.running.wait_ready(printer)
        return printer

    def paths(self) -> set[str]:
        found: set[str] = set()
        entries = self.running.get("/api/files?recursive=true&force=true")["files"]
        while entries:
            entry = entries.pop()
            entries += entry.get("children", [])
            if entry["type"] != "folder":
                found.add(entry["path"])
        return found


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    door, own_port = free_port(), free_port()
    printers = "".join(
        f'[[printers]]\nslug = "{slug}"\ndriver = "virtual"\nspeed = 0\nlisten = {listen}\n'
        for slug, listen in (("mk3", 0), ("mini", own_port))
    )
    with host(tmp_path_factory.mktemp("farm"), printers, door) as running:
        running.wait_ready("mk3")
        running.wait_ready("mini")
        yield Farm(running, door, own_port)


# The Slic3r family


@pytest.mark.parametrize("slicer", SLICERS)
def test_a_slicer_is_tested_uploads_and_prints_to_the_end(farm: Farm, slicer: Slicer) -> None:
    one = slicer(farm.port, farm.key)
    assert one.works()
    name = f"{slicer.__name__}.gcode"
    answer = one.upload(name.encode(), print_it=True)
    assert (answer.status, answer.json["done"], answer.json["effectivePrint"]) == (201, True, True)
    assert farm.printed(name) == "mk3"
    download = answer.json["files"]["local"]["refs"]["download"]
    assert httpx.get(download, headers={"X-Api-Key": farm.key}).content == GCODE


@pytest.mark.parametrize("slicer", SLICERS)
def test_a_large_upload_waits_to_be_told_to_go_on(farm: Farm, slicer: Slicer) -> None:
    content = GCODE * 3000  # some MB, of which libcurl asks first
    answer = slicer(farm.port, farm.key).upload(f"large {slicer.__name__}.gcode".encode(), content, waits=True)
    assert (answer.status, answer.continued) == (201, True)
    assert answer.json["effectivePrint"] is False
    assert answer.json["files"]["local"]["name"] == f"large {slicer.__name__}.gcode"
    download = answer.json["files"]["local"]["refs"]["download"]
    assert httpx.get(download, headers={"X-Api-Key": farm.key}).content == content


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        (b"M\xc3\xbctze \xe2\x98\x83.gcode", "Mütze ☃.gcode"),
        (b"M\xfctze.gcode", "Mütze.gcode"),  # latin-1 of an old Windows
        (b"a ; b = c.gcode", "a ; b = c.gcode"),
        (b"it's 100%.gcode", "it's 100%.gcode"),
        (b"e\xcc\x81.gcode", "é.gcode"),  # as macOS spells it
    ],
)
def test_names_arrive_as_they_were_given(farm: Farm, name: bytes, stored: str) -> None:
    answer = prusaslicer(farm.port, farm.key).upload(name, folder="named")
    assert (answer.status, answer.json["files"]["local"]["path"]) == (201, f"named/{stored}")
    assert f"named/{stored}" in farm.paths()
    assert once(farm.port, head("GET", _path_of(answer.headers["Location"]), *_lines(farm))).json["display"] == stored


def test_a_quote_in_a_name_is_what_libcurl_makes_of_it(farm: Farm) -> None:
    older = superslicer(farm.port, farm.key).upload(b'3" pipe.gcode')
    assert older.json["files"]["local"]["name"] == '3" pipe.gcode'
    newer = prusaslicer(farm.port, farm.key).upload(b'3" pipe.gcode')
    assert newer.json["files"]["local"]["name"] == "3%22 pipe.gcode"  # a name as any other: nothing is decoded twice
    assert {'3" pipe.gcode', "3%22 pipe.gcode"} <= farm.paths()


def test_a_name_as_rfc_5987_has_it_wins(farm: Farm) -> None:
    body = (
        b'--X\r\nContent-Disposition: form-data; name="file"; filename="U.gcode"; '
        b"filename*=UTF-8''%C3%9Cber%20%22all%22.gcode\r\n\r\nG28\n\r\n--X--\r\n"
    )
    lines = [*_lines(farm), "Content-Type: multipart/form-data; boundary=X", f"Content-Length: {len(body)}"]
    answer = once(farm.port, head("POST", "/api/files/local", *lines), body)
    assert (answer.status, answer.json["files"]["local"]["name"]) == (201, 'Über "all".gcode')


def test_a_body_of_unknown_length_comes_in_chunks(farm: Farm) -> None:
    answer = prusaslicer(farm.port, farm.key).upload(b"chunked.gcode", print_it=True, chunked=True, waits=True)
    assert (answer.status, answer.continued) == (201, True)
    assert farm.printed("chunked.gcode") == "mk3"


def test_a_folder_is_made_for_what_goes_into_it(farm: Farm) -> None:
    answer = prusaslicer(farm.port, farm.key).upload(b"in folder.gcode", folder="new/deep")
    assert answer.json["files"]["local"]["path"] == "new/deep/in folder.gcode"


@pytest.mark.parametrize("named", ["localhost", "127.0.0.1", "printer-host", "[::1]"])
def test_a_host_header_without_port_is_met(farm: Farm, named: str) -> None:
    """As PrusaSlicer sends it on Windows, where it looked up the name by itself."""
    one = prusaslicer(farm.port, farm.key, host=named)
    assert one.works()
    answer = one.upload(b"no port.gcode")
    assert answer.status == 201
    # The port that was connected to is added, so that the address is one that works.
    assert answer.headers["Location"] == f"http://{named}:{farm.port}/api/files/local/no%20port.gcode"


@pytest.mark.parametrize("slicer", SLICERS)
def test_what_a_user_sees_whose_key_will_not_do(farm: Farm, slicer: Slicer) -> None:
    before = farm.paths()
    for key in ("", "wrong", farm.key[:-1], "ü"):
        one = slicer(farm.port, key)
        assert one.test().status == 403
        answer = one.upload(b"refused.gcode", print_it=True)
        assert answer.status == 403
        assert "permission" in answer.json["error"]
    looker = slicer(farm.port, farm.looker)
    assert looker.works()  # it may look, so the test says all is well, as the original's does
    answer = looker.upload(b"refused.gcode", print_it=True)
    assert (answer.status, answer.headers["Content-Type"]) == (403, "application/json")
    assert "add files" in answer.json["error"]  # what it may not, in words that the slicer shows
    assert farm.paths() == before


def test_who_may_not_upload_is_told_before_the_body_is_sent(farm: Farm) -> None:
    answer = prusaslicer(farm.port, farm.looker).upload(b"refused.gcode", GCODE * 3000, waits=True)
    assert (answer.status, answer.continued) == (403, False)


def test_what_a_user_sees_who_sends_the_wrong_thing(farm: Farm) -> None:
    one = prusaslicer(farm.port, farm.key)
    for name, status in ((b"model.stl", 415), (b"no extension", 415), (b".hidden.gcode", 400), (b"..", 415)):
        answer = one.upload(name)
        assert answer.status == status, (name, answer.body)
        assert answer.json["error"]


# Cura

FLAGS = {"error", "closedOrError", "paused", "pausing", "printing", "cancelling", "ready", "operational"}


def test_cura_polls_uploads_selects_and_prints(farm: Farm) -> None:
    with Cura(farm.port, farm.key) as cura:
        assert cura.get("version").json["server"].startswith("1.")
        login = cura.post("login", {"passive": True})
        assert (login.status, login.json["name"]) == (200, "admin")
        settings = cura.get("settings").json
        assert settings["feature"]["sdSupport"] in {True, False}
        assert isinstance(settings["webcam"]["streamUrl"], str)
        assert isinstance(settings["plugins"], dict)
        profiles = cura.get("printerprofiles").json["profiles"]
        (current,) = [profile for profile in profiles.values() if profile["current"]]
        assert isinstance(current["name"], str)
        assert isinstance(current["model"], str)
        assert set(current["axes"]) >= {"x", "y", "z"}
        _poll(cura)
        assert cura.post("printer/command", {"commands": ["M117 Cura"]}).status == 204

        answer = cura.upload("cura part.gcode")
        assert answer.status == 201
        location = answer.headers["Location"]
        assert location == f"http://127.0.0.1:{farm.port}/api/files/local/cura%20part.gcode"
        assert cura.follow(location, {"command": "select", "print": True}).status == 204
        assert farm.printed("cura part.gcode") == "mk3"
        flags, job = _poll(cura)
        assert (flags["ready"], job["state"]) == (True, "Operational")
        assert job["job"]["file"]["name"] == "cura part.gcode"
        assert job["progress"]["completion"] == 100.0
        assert job["progress"]["printTimeLeft"] == 0

        answer = cura.upload("cura now.gcode", select="true", print="true")
        assert answer.json["effectivePrint"] is True
        assert farm.printed("cura now.gcode") == "mk3"


def _poll(cura: Cura) -> tuple[dict[str, Any], dict[str, Any]]:
    """What Cura asks every two seconds, with the keys that it would stumble over."""
    printer, job = cura.get("printer"), cura.get("job")
    assert (printer.status, job.status) == (200, 200)
    flags = printer.json["state"]["flags"]
    assert set(flags) >= FLAGS
    assert all(isinstance(flags[name], bool) for name in FLAGS)
    for heater in ("tool0", "bed"):
        assert isinstance(printer.json["temperature"][heater]["actual"], float)
        assert isinstance(printer.json["temperature"][heater]["target"], float)
    assert set(job.json["progress"]) >= {"printTime", "printTimeLeft", "completion"}
    assert "name" in job.json["job"]["file"]
    assert isinstance(job.json["state"], str)
    return flags, job.json


def test_cura_sees_a_printer_that_is_switched_off(farm: Farm) -> None:
    with Cura(farm.port, farm.key, "/p/mini") as cura:
        assert cura.post("connection", {"command": "disconnect"}).status == 204
        until(lambda: cura.get("printer").status == 409, "the printer to be offline")
        assert cura.get("job").json["state"].startswith("Offline")
        assert cura.post("connection", {"command": "connect"}).status == 204
        until(lambda: cura.get("printer").status == 200, "the printer to be back")


def test_cura_stops_asking_when_its_key_is_wrong(farm: Farm) -> None:
    with Cura(farm.port, "wrong") as cura:
        for path in ("printer", "job", "settings", "printerprofiles", "version"):
            assert cura.get(path).status == 403
        login = cura.post("login", {"passive": True})
        assert "name" not in login.json
        assert cura.upload("refused.gcode").status == 403


# Several printers: the prefix, the bound key, the own port, the door


@pytest.mark.parametrize("slicer", SLICERS)
def test_a_url_with_a_prefix_is_one_printer(farm: Farm, slicer: Slicer) -> None:
    one = slicer(farm.port, farm.key, base="/p/mini")
    assert one.works()
    name = f"prefixed {slicer.__name__}.gcode"
    answer = one.upload(name.encode(), print_it=True)
    assert answer.headers["Location"].startswith(f"http://127.0.0.1:{farm.port}/p/mini/api/files/local/prefixed%20")
    assert farm.printed(name) == "mini"


def test_cura_with_a_prefix_follows_the_location_to_its_printer(farm: Farm) -> None:
    with Cura(farm.port, farm.only_mini, "/p/mini") as cura:
        _poll(cura)
        answer = cura.upload("cura mini.gcode")
        assert cura.follow(answer.headers["Location"], {"command": "select", "print": True}).status == 204
        assert farm.printed("cura mini.gcode") == "mini"


def test_a_bound_key_is_one_printer_at_the_url_of_the_host(farm: Farm) -> None:
    for port, place in ((farm.port, "main"), (farm.door, "door"), (farm.own_port, "own")):
        one = prusaslicer(port, farm.only_mini)
        assert one.works(), place
        assert one.upload(f"bound {place}.gcode".encode(), print_it=True).json["effectivePrint"] is True
        assert farm.printed(f"bound {place}.gcode") == "mini"


def test_a_port_of_its_own_is_one_printer(farm: Farm) -> None:
    one = prusaslicer(farm.own_port, farm.key)
    assert one.works()
    answer = one.upload(b"own port.gcode", print_it=True)
    assert answer.headers["Location"] == f"http://127.0.0.1:{farm.own_port}/api/files/local/own%20port.gcode"
    assert farm.printed("own port.gcode") == "mini"


def test_the_door_is_the_printer_that_is_meant_when_none_is_named(farm: Farm) -> None:
    one = prusaslicer(farm.door, farm.key)
    assert one.works()
    assert one.upload(b"door.gcode", print_it=True).status == 201
    assert farm.printed("door.gcode") == "mk3"
    missing = once(farm.door, head("GET", "/nothing/here", *_lines(farm)))
    assert (missing.status, set(missing.json)) == (404, {"error"})


def test_a_bound_key_reaches_no_other_printer_by_any_way(farm: Farm) -> None:
    before, runs = farm.paths(), len(farm.running.runs())
    for port, base in (
        (farm.port, "/p/mini"),
        (farm.port, "//p//mini"),
        (farm.own_port, ""),
        (farm.own_port, "/p/mini"),
    ):
        one = prusaslicer(port, farm.only_mk3, base=base)
        assert one.test().status == 403
        assert one.upload(b"astray.gcode", print_it=True).status == 403
        with Cura(port, farm.only_mk3, base) as cura:
            for path in ("printer", "job", "connection", "settings", "files/local"):
                assert cura.get(path).status == 403, (base, path)
            for path, said in (
                ("job", {"command": "start"}),
                ("printer/command", {"command": "M112"}),
                ("printer/tool", {"command": "target", "targets": {"tool0": 200}}),
                ("connection", {"command": "disconnect"}),
                ("files/local/door.gcode", {"command": "select", "print": True}),
            ):
                assert cura.post(path, said).status == 403, (base, path)
    lines = [*_lines(farm, farm.only_mk3), "X-Script-Name: /p/mini", "X-Forwarded-Host: mini.local"]
    job = once(farm.port, head("GET", "/api/connection", *lines))
    assert job.status == 200  # forged headers mean nothing: it is still its own printer
    named = [line.replace(f"127.0.0.1:{farm.port}", "mini.local") for line in _lines(farm, farm.only_mk3)]
    own = prusaslicer(farm.port, farm.only_mk3, host="mini.local")
    assert own.upload(b"by name.gcode", print_it=True).json["effectivePrint"] is True
    assert farm.printed("by name.gcode") == "mk3"
    assert once(farm.port, head("GET", "/p/mini/api/job?apikey=" + farm.only_mk3, *named[:1])).status == 403
    assert once(farm.port, head("GET", "/p/none/api/job", *_lines(farm, farm.only_mk3))).status == 403
    assert farm.paths() == before | {"by name.gcode"}
    assert len(farm.running.runs()) == runs + 1
    assert farm.running.state("mini") == "Operational"


def test_a_bound_key_logs_in_to_its_own_printer_alone(farm: Farm) -> None:
    """The session of a passive login is no way round the key's bounds."""
    with httpx.Client(base_url=f"http://127.0.0.1:{farm.port}") as browser:
        login = browser.post("/api/login", json={"passive": True}, headers={"X-Api-Key": farm.only_mk3})
        assert login.status_code == 200
        assert browser.get("/p/mini/api/job").status_code == 403


def _lines(farm: Farm, key: str | None = None) -> list[str]:
    return [f"Host: 127.0.0.1:{farm.port}", f"X-Api-Key: {farm.key if key is None else key}"]


def _path_of(url: str) -> str:
    return "/" + url.split("/", 3)[3]
