"""A whole host as a process: how it starts, whom it lets in, how it stops, and what it leaves."""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
from zeroconf import Zeroconf

from polyhost.drivers.engines import runtime_path
from tests.commands.conftest import Ran, command, end, environment, host_of, run, start_demo
from tests.integration.processes import free_port

LONG = "".join(f"G1 X{n % 2 * 0.5} F300\n" for n in range(5000))
VIRTUAL = '[[printers]]\nslug = "v"\ndriver = "virtual"\nspeed = 5\n'


@dataclass
class Server:
    process: subprocess.Popen[str]
    url: str
    said: list[str]

    def stop(self) -> str:
        """SIGTERM; all it said."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=30) == 0
        assert self.process.stderr is not None
        rest = self.process.stderr.read()
        return "".join(self.said) + rest


def serve_command(data: Path, *arguments: str) -> list[str]:
    return command("serve", "--data", str(data), "--host", "127.0.0.1", "--port", "0", "--allow-root", *arguments)


@contextmanager
def serving(data: Path, settings: str = "", *arguments: str) -> Iterator[Server]:
    """A host on `data`; whatever it leaves is ended."""
    config = data.with_suffix(".toml")
    config.write_text(settings if "[doors]" in settings else "[doors]\noctoprint = 0\nmoonraker = 0\n" + settings)
    process = subprocess.Popen(
        serve_command(data, "--config", str(config), *arguments), stderr=subprocess.PIPE, text=True, env=environment()
    )
    try:
        assert process.stderr is not None
        said = []
        while not (said and said[-1].startswith("Polyhost answers at ")):
            said.append(process.stderr.readline())
            assert said[-1], said
        yield Server(process, said[-1].split()[-1], said)
    finally:
        process.kill()
        process.wait(timeout=30)
        assert process.stderr is not None
        process.stderr.close()
        for engine in engines(data):
            engine.kill()
        shutil.rmtree(runtime_path(data), ignore_errors=True)


def engines(data: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if "polyhost.engine" in (line := process.cmdline()) and str(data) in " ".join(line):
                found.append(process)
        except psutil.Error:
            continue
    return found


def until(ask: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 30
    while not ask():
        assert time.monotonic() < end, what
        time.sleep(0.02)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def init(data: Path) -> str:
    key: str = run("init", "--data", str(data), "--json").json["api_key"]
    return key


def at(data: Path, *arguments: str) -> Ran:
    """A command of the host's own user: no key, the local socket."""
    return run(*arguments, "--data", str(data))


def start_printing(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "long.gcode"
    file.write_text(LONG)
    until(lambda: at(data, "printers", "show", "v", "--json").json["state"] == "ready", "the printer")
    assert at(data, "print", str(file), "--on", "v").code == 0
    until(lambda: at(data, "printers", "show", "v", "--json").json["run"]["state"] == "printing", "the print")


def test_the_only_printer_needs_no_name(data: Path, tmp_path: Path) -> None:
    with serving(data, VIRTUAL):
        start_printing(data, tmp_path)
        assert at(data, "pause").code == 0
        assert at(data, "cancel", "--yes").code == 0


def test_a_new_host_is_closed_until_its_code_is_said(data: Path) -> None:
    with serving(data) as server, httpx.Client(base_url=server.url) as client:
        closed = client.get("/api/version")
        assert (closed.status_code, "setup needed" in closed.text) == (403, True)
        code = (data / "setup-code").read_text().strip()
        assert stat.S_IMODE((data / "setup-code").stat().st_mode) == 0o600
        wrong = {"code": "AAAA-AAAA", "name": "ana", "password": "long enough"}
        assert client.post("/native/v1/setup", json=wrong).status_code == 403
        made = client.post("/native/v1/setup", json={**wrong, "code": code})
        assert made.status_code == 201
        key = made.json()["api_key"]
        assert client.get("/api/version", headers={"X-Api-Key": key}).status_code == 200
        assert client.get("/api/version").status_code == 403
        assert not (data / "setup-code").exists()
        assert code in server.stop()


def test_the_folder_and_the_local_socket_are_their_owners_alone(data: Path) -> None:
    with serving(data) as server:
        assert stat.S_IMODE(data.stat().st_mode) == 0o700
        local = runtime_path(data) / "api.sock"
        assert stat.S_IMODE(local.stat().st_mode) == 0o600
        assert stat.S_IMODE(local.parent.stat().st_mode) == 0o700
        assert at(data, "printers", "list", "--json").json == []
        server.stop()
        assert not local.exists()


def test_init_makes_one_administrator_and_no_second(data: Path) -> None:
    made = run("init", "--data", str(data), "--user", "ana", "--json")
    assert made.json.keys() == {"user", "password", "api_key"}
    assert made.json["user"] == "ana"
    again = run("init", "--data", str(data))
    assert (again.code, again.out) == (6, "")
    with serving(data) as server, httpx.Client(base_url=server.url) as client:
        assert client.get("/api/version", headers={"X-Api-Key": made.json["api_key"]}).status_code == 200


def test_all_that_is_kept_is_its_owners_alone(data: Path) -> None:
    data.mkdir(mode=0o755)  # made by somebody who did not think of it
    init(data)
    kept = [path for path in data.rglob("*") if path.is_file()]
    assert {data / "polyhost.db", data / "secret.key"} <= set(kept)
    assert [path for path in kept if path.stat().st_mode & 0o077] == []


@pytest.mark.parametrize("command", [["init"], ["demo", "--port", "0"], ["serve", "--port", "0", "--allow-root"]])
def test_what_cannot_be_a_data_folder_is_said_so(command: list[str]) -> None:
    refused = run(*command, "--data", "/dev/null")
    assert (refused.code, refused.out) == (6, "")
    assert "/dev/null cannot be the data folder" in refused.err


def test_one_host_to_a_folder_and_the_other_is_told_which_process_has_it(data: Path) -> None:
    with serving(data) as server:
        second = subprocess.run(serve_command(data), capture_output=True, text=True, env=environment(), timeout=30)
        assert second.returncode == 6
        assert f"process {server.process.pid}" in second.stderr
        assert run("init", "--data", str(data)).code == 6


def test_a_taken_port_is_said_with_the_program_that_has_it(data: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        refused = run("serve", "--data", str(data), "--host", "127.0.0.1", "--port", port, "--allow-root")
        assert refused.code == 1
        assert f"port {port} is in use by" in refused.err
        assert f"(process {os.getpid()})" in refused.err
        # For a door it is a warning.
        init(data)
        with serving(data, f'[[printers]]\nslug = "v"\ndriver = "virtual"\nlisten = {port}\n') as server:
            assert f"the port of v: port {port} is in use" in server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is refused")
def test_root_is_refused_unless_it_insists(data: Path) -> None:
    refused = run("serve", "--data", str(data))
    assert (refused.code, "--allow-root" in refused.err) == (4, True)
    assert not data.exists()


def test_behind_its_door_octoprint_owns_what_nobody_knows(data: Path) -> None:
    door = free_port()
    key = {"X-Api-Key": init(data)}
    with serving(data, f"[doors]\noctoprint = {door}\nmoonraker = 0\n") as server:
        assert httpx.get(f"http://127.0.0.1:{door}/api/version", headers=key).json()["api"] == "0.1"
        here, there = (httpx.get(f"{base}/nothing", headers=key) for base in (server.url, f"http://127.0.0.1:{door}"))
        assert (here.status_code, there.status_code) == (404, 404)
        assert here.json().keys() == {"error", "message"}
        assert there.json().keys() == {"error"}
        assert f"and at port {door}, for clients of OctoPrint" in server.stop()


def test_a_printer_answers_on_a_port_of_its_own(data: Path) -> None:
    port = free_port()
    key = init(data)
    settings = VIRTUAL + f'[[printers]]\nslug = "w"\nname = "Other"\ndriver = "virtual"\nlisten = {port}\n'
    with serving(data, settings), httpx.Client(headers={"X-Api-Key": key}) as client:
        until(lambda: at(data, "printers", "show", "w", "--json").json["state"] == "ready", "the printer")
        answer = client.post(f"http://127.0.0.1:{port}/api/printer/command", json={"command": "M117 to w"})
        assert answer.status_code == 204
        until(lambda: "M117 to w" in at(data, "printers", "console", "w").out, "the command")
        assert "M117 to w" not in at(data, "printers", "console", "v").out


def test_a_port_of_its_own_is_there_as_long_as_its_printer(data: Path) -> None:
    port = free_port()
    own = f"http://127.0.0.1:{port}/api/printer/command"
    key = init(data)
    with serving(data, VIRTUAL) as server, httpx.Client(headers={"X-Api-Key": key}) as client:
        assert at(data, "printers", "add", "W", "--virtual", "--listen", str(port)).code == 0

        def sent() -> bool:
            try:
                return client.post(own, json={"command": "M117 to w"}).status_code == 204
            except httpx.ConnectError:
                return False

        until(sent, "the port of the new printer")
        assert "M117 to w" not in at(data, "printers", "console", "v").out
        # Its connections go with it: what is sent on them must not reach another printer.
        assert at(data, "printers", "remove", "w", "--yes").code == 0
        with pytest.raises(httpx.TransportError):
            until(lambda: not client.post(own, json={"command": "M117 to nobody"}), "the port to be closed")
        # A printer without its port is a printer.
        with socket.socket() as holder:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind(("127.0.0.1", port))
            holder.listen()
            assert at(data, "printers", "add", "X", "--virtual", "--listen", str(port)).code == 0
            assert at(data, "printers", "show", "x").code == 0
            until(lambda: at(data, "printers", "show", "x", "--json").json["state"] == "ready", "the printer")
        assert server.stop().count(f"the port of x: port {port} is in use") == 1


def test_stopping_with_nothing_printing_ends_the_engines(data: Path) -> None:
    init(data)
    with serving(data, VIRTUAL) as server:
        until(lambda: at(data, "printers", "show", "v", "--json").json["state"] == "ready", "the printer")
        assert len(engines(data)) == 1
        server.stop()
        assert engines(data) == []


def test_a_stop_waits_for_no_sender_who_sends_nothing(data: Path) -> None:
    key = init(data)
    with serving(data) as server:
        port = int(server.url.rsplit(":", 1)[1])
        head = f"PUT /native/v1/files/half.gcode HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: {key}\r\n"
        with socket.create_connection(("127.0.0.1", port)) as half:
            half.sendall(f"{head}Content-Length: 100000\r\n\r\nG28\n".encode())
            until(lambda: any((data / "staging").iterdir()), "the upload to begin")
            began = time.monotonic()
            server.stop()
            assert time.monotonic() - began < 10
        assert not any((data / "staging").iterdir())


def test_stopping_leaves_a_print_to_its_engine_and_the_next_host_carries_it_on(data: Path, tmp_path: Path) -> None:
    init(data)
    with serving(data, VIRTUAL) as server:
        start_printing(data, tmp_path)
        began = time.monotonic()
        said = server.stop()
        assert time.monotonic() - began < 15
        assert "v: the print of long.gcode goes on without the server" in said
        (engine,) = engines(data)
        with serving(data, VIRTUAL) as again:
            until(lambda: at(data, "printers", "show", "v", "--json").json["state"] == "ready", "the printer")
            (only,) = at(data, "history", "--json").json
            assert only["state"] == "printing"
            assert engines(data) == [engine]
            assert at(data, "cancel", "v", "--yes").code == 0
            until(lambda: at(data, "history", "--json").json[0]["state"] == "cancelled", "the cancel")
            again.stop()
            assert engines(data) == []


def test_who_follows_a_print_is_carried_over_the_hosts_restart(data: Path, tmp_path: Path) -> None:
    init(data)
    with serving(data, VIRTUAL) as server:
        start_printing(data, tmp_path)
        following = subprocess.Popen(
            command("follow", "v", "--json", "--data", str(data)), stdout=subprocess.PIPE, text=True, env=environment()
        )
        assert following.stdout is not None
        assert json.loads(following.stdout.readline())["run"]["state"] == "printing"
        server.process.kill()
        server.process.wait(30)
        with serving(data, VIRTUAL):
            assert at(data, "cancel", "v", "--yes").code == 0
            *_, last = following.stdout
            assert json.loads(last)["run"]["state"] == "cancelled"
            assert following.wait(30) == 7
            following.stdout.close()


def test_stopping_with_stop_printing_cancels_first(data: Path, tmp_path: Path) -> None:
    init(data)
    with serving(data, VIRTUAL, "--stop-printing") as server:
        start_printing(data, tmp_path)
        assert "v: the print of long.gcode is cancelled" in server.stop()
        assert engines(data) == []
    with serving(data, VIRTUAL):
        (only,) = at(data, "history", "--json").json
        assert only["state"] == "cancelled"


def test_a_run_whose_engine_died_goes_on_after_a_person_saw_how(data: Path, tmp_path: Path) -> None:
    init(data)
    with serving(data, VIRTUAL) as server:
        start_printing(data, tmp_path)
        (engine,) = engines(data)
        engine.kill()
        until(lambda: at(data, "history", "--json").json[0]["state"] == "interrupted", "the interruption")
        until(lambda: at(data, "printers", "show", "v", "--json").json["state"] == "ready", "the printer")
        unasked = at(data, "resume", "v")
        assert unasked.code == 2
        assert "G92 Z" in unasked.err
        assert "--yes" in unasked.err
        resumed = at(data, "resume", "v", "--yes")
        assert (resumed.code, "long.gcode on v goes on" in resumed.err) == (0, True)
        newest, oldest = at(data, "history", "--json").json
        assert (oldest["state"], newest["resumed_from"]) == ("interrupted", oldest["id"])
        assert at(data, "cancel", "v", "--yes").code == 0
        until(lambda: at(data, "history", "--json").json[0]["state"] == "cancelled", "the cancel")
        server.stop()


def test_the_demo_ends_whole(tmp_path: Path) -> None:
    demo = start_demo("--printers", "2", "--speed", "0")
    try:
        host = host_of(demo)
        assert host.printers == ("virtual-1", "virtual-2")
        assert host.pid == demo.pid
        states = [printer["state"] for printer in run("printers", "list", "--data", str(host.data), "--json").json]
        assert states == ["ready", "ready"]
        assert host.url.startswith("http://127.0.0.1:")
        assert len(engines(host.data)) == 1
    finally:
        code = end(demo)
    assert code == 0
    assert not host.data.exists()
    assert engines(host.data) == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(host.url)


def test_the_demo_takes_the_next_port_when_its_own_is_taken() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        demo = subprocess.Popen(
            command("demo", "--json", "--port", str(port), "--printers", "1", "--speed", "0"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        try:
            url = host_of(demo).url
        finally:
            demo.send_signal(signal.SIGINT)
            _, said = demo.communicate(timeout=30)
    assert demo.returncode == 0
    taken = int(url.rsplit(":", 1)[1])
    assert port < taken < port + 50
    assert said.startswith(f"port {port} is in use; the demo takes {taken}")


def test_the_demo_prints_its_file_to_the_end() -> None:
    done = subprocess.run(
        command("demo", "--print", "--once", "--port", "0", "--printers", "1", "--speed", "0"),
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "100 %  completed" in done.stdout.splitlines()[-1]
    assert "$ polyhost print demo_cube.gcode --on virtual-1 --follow" in done.stderr


def test_the_demo_keeps_its_data_where_it_is_told_to(tmp_path: Path) -> None:
    for _ in range(2):  # the second one finds an administrator
        demo = start_demo("--printers", "1", "--speed", "0", "--data", str(tmp_path / "kept"))
        try:
            host = host_of(demo)
            listed = httpx.get(f"{host.url}/native/v1/printers", headers={"X-Api-Key": host.api_key})
            assert listed.status_code == 200
        finally:
            end(demo)
        assert (tmp_path / "kept" / "polyhost.db").exists()
    assert json.loads(listed.text)[0]["slug"] == "virtual-1"


def test_a_printer_is_announced_while_the_host_runs(tmp_path: Path) -> None:
    """Over the loopback interface, which a host that listens there alone uses only when it is named."""
    slug = f"v-{os.getpid()}-{time.monotonic_ns()}"
    settings = f'[discovery]\ninterfaces = ["127.0.0.1"]\n[[printers]]\nslug = "{slug}"\ndriver = "virtual"\n'
    with serving(tmp_path / "data", settings) as server, Zeroconf(interfaces=["127.0.0.1"]) as looking:
        info = None
        end = time.monotonic() + 20
        while info is None:
            assert time.monotonic() < end
            name = f"{slug} on {socket.gethostname().partition('.')[0]}"[:63]
            info = looking.get_service_info("_octoprint._tcp.local.", f"{name}._octoprint._tcp.local.", timeout=500)
        assert server.url.endswith(f":{info.port}")
        server.stop()


def test_the_host_keeps_its_log_as_a_file(tmp_path: Path) -> None:
    with serving(tmp_path / "data", VIRTUAL) as server:
        said = server.stop()
    log = tmp_path / "data" / "log" / "polyhost.log"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    lines = log.read_text().splitlines()
    assert "begins" in lines[0]
    assert lines[-1].endswith("Polyhost ends")
    assert all(line in said for line in lines)
