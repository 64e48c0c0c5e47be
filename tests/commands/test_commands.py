"""Every command against a real host: its words, its JSON, its exit code, and what it says to wrong input."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from polyhost import __version__
from tests.commands.conftest import Host, Ran, command, environment, run

Polyhost = Callable[..., Ran]

QUICK = "".join(f"G1 X{n % 100} Y{n % 70} F6000\n" for n in range(200))
LONG = "".join(f"G1 X{n % 2 * 0.5} F300\n" for n in range(5000))


@pytest.fixture
def quick(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A file of this computer that prints at once; its name is the test's own."""
    file = tmp_path / f"{request.node.name[:60].replace('[', '-').rstrip(']')}.gcode"
    file.write_text(QUICK)
    return file


@pytest.fixture
def printing(polyhost: Polyhost, tmp_path: Path) -> str:
    """The slug of a printer that prints for minutes; ended afterwards by whoever needs it to end."""
    if polyhost("printers", "show", "slow", "--json").json["run"] is None or not _prints(polyhost, "slow"):
        _wait(lambda: polyhost("printers", "show", "slow", "--json").json["state"] == "ready")
        file = tmp_path / "long.gcode"
        file.write_text(LONG)
        started = polyhost("print", str(file), "--on", "slow")
        assert started.code == 0, started.err
    return "slow"


def _prints(polyhost: Polyhost, slug: str) -> bool:
    run = polyhost("printers", "show", slug, "--json").json["run"]
    return run is not None and run["state"] not in {"completed", "cancelled", "failed", "interrupted"}


def _wait(ask: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not ask():
        assert time.monotonic() < end
        time.sleep(0.05)


# Printing


def test_a_local_file_is_uploaded_printed_and_followed_to_its_end(polyhost: Polyhost, quick: Path) -> None:
    ran = polyhost("print", str(quick), "--on", "virtual-1", "--follow")
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert "stored as" in lines[0]
    assert "100 %" in lines[-1]
    assert "completed" in lines[-1]
    assert f"{quick.name} prints on virtual-1" in ran.err
    (run,) = [run for run in polyhost("history", "--json").json if run["path"] == quick.name]
    assert run["state"] == "completed"


def test_followed_as_json_every_line_is_an_object_and_the_last_one_the_end(polyhost: Polyhost, quick: Path) -> None:
    ran = polyhost("print", str(quick), "--on", "virtual-2", "--follow", "--json")
    assert ran.code == 0, ran.err
    started, *followed = [json.loads(line) for line in ran.out.splitlines()]
    assert started["path"] == quick.name
    assert followed[-1]["run"]["state"] == "completed"
    assert ran.err == ""


def test_nothing_is_uploaded_for_a_printer_that_is_not_there(polyhost: Polyhost, tmp_path: Path) -> None:
    file = tmp_path / "for_nobody.gcode"
    file.write_text("G28\n")
    ran = polyhost("print", str(file), "--on", "nobody")
    assert ran.code == 5
    assert "no printer 'nobody'" in ran.err
    assert "for_nobody" not in polyhost("files", "list").out


def test_a_stored_file_is_printed_by_its_path(polyhost: Polyhost, quick: Path) -> None:
    assert polyhost("upload", str(quick), "--to", "parts").code == 0
    ran = polyhost("print", f"parts/{quick.name}", "--on", "virtual-3", "--follow")
    assert (ran.code, f"parts/{quick.name} prints on virtual-3" in ran.err) == (0, True)


def test_a_print_is_paused_resumed_and_cancelled(polyhost: Polyhost, host: Host, printing: str) -> None:
    paused = polyhost("pause", printing)
    assert (paused.code, paused.out) == (0, "")
    assert paused.err == "long.gcode on slow pauses\n"
    _wait(lambda: polyhost("printers", "show", printing, "--json").json["run"]["state"] == "paused")
    assert polyhost("resume", printing, "--json").json["path"] == "long.gcode"
    _wait(lambda: polyhost("printers", "show", printing, "--json").json["run"]["state"] == "printing")
    unasked = polyhost("cancel", printing)
    assert (unasked.code, "--yes" in unasked.err) == (2, True)
    follower = _follow(host, printing)
    assert polyhost("cancel", printing, "--yes").code == 0
    _, err = follower.communicate(timeout=30)
    assert follower.returncode == 7
    assert "was cancelled" in err
    again = polyhost("cancel", printing, "--yes")
    assert (again.code, "slow prints nothing" in again.err) == (6, True)


def test_ctrl_c_detaches_and_leaves_the_print(polyhost: Polyhost, host: Host, printing: str) -> None:
    follower = _follow(host, printing)
    follower.send_signal(signal.SIGINT)
    _, err = follower.communicate(timeout=30)
    assert follower.returncode == 130
    assert "polyhost follow slow" in err
    assert _prints(polyhost, printing)


def _follow(host: Host, slug: str) -> subprocess.Popen[str]:
    """`polyhost follow`, once it shows something."""
    known = environment(POLYHOST_SERVER=host.url, POLYHOST_KEY=host.api_key)
    follower = subprocess.Popen(
        command("follow", slug),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=known,
        # Where the tests run in a shell's background, Ctrl-C is ignored by them and all that they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert follower.stdout is not None
    assert "long.gcode" in follower.stdout.readline()
    return follower


# Looking


def test_printers_are_listed_with_what_they_do(polyhost: Polyhost) -> None:
    ran = polyhost("printers", "list")
    assert ran.code == 0
    head, *rows = ran.out.splitlines()
    assert head.split() == ["PRINTER", "NAME", "DRIVER", "PORT", "STATE"]
    assert {row.split()[0] for row in rows} >= {"virtual-1", "virtual-2", "virtual-3", "slow", "gone"}
    assert {printer["slug"] for printer in polyhost("printers", "list", "--json").json} >= {"virtual-1", "slow"}


def test_status_has_what_needs_a_hand_on_top(polyhost: Polyhost) -> None:
    _wait(lambda: polyhost("printers", "show", "gone", "--json").json["state"] == "unreachable")
    ran = polyhost("status")
    assert ran.out.splitlines()[1].startswith("gone")
    assert [printer["slug"] for printer in polyhost("status", "virtual-2", "--json").json] == ["virtual-2"]
    assert polyhost("status", "--watch").code == 2  # there is no terminal


def test_a_printer_is_shown(polyhost: Polyhost) -> None:
    ran = polyhost("printers", "show", "virtual-1")
    assert ran.code == 0
    assert "state     ready" in ran.out
    assert "tool0" in ran.out


def test_temperatures_are_shown_and_set(polyhost: Polyhost) -> None:
    assert polyhost("printers", "temp", "virtual-2", "hotend=50", "bed=40").code == 0

    def heated() -> bool:
        heaters = polyhost("printers", "temp", "virtual-2", "--json").json["heaters"]
        return bool(heaters["tool0"]["target"] == 50 and heaters["bed"]["target"] == 40)

    _wait(heated)
    assert "→ 50 °C" in polyhost("printers", "temp", "virtual-2").out
    assert polyhost("printers", "temp", "virtual-2", "hotend=off", "bed=off").code == 0
    assert polyhost("printers", "temp", "virtual-2", "hotend=9000").code == 2


def test_a_serial_log_is_written_while_it_is_on(polyhost: Polyhost, host: Host) -> None:
    assert polyhost("printers", "log", "virtual-1").err == "virtual-1: its serial log is off\n"
    assert polyhost("printers", "log", "virtual-1", "on", "--json").json == {
        "enabled": True,
        "log": "serial-virtual-1.log",
    }
    file = host.data / "log" / "serial-virtual-1.log"

    def is_written() -> bool:
        polyhost("printers", "send", "virtual-1", "M117 logged")
        return file.exists() and "M117 logged" in file.read_text()

    _wait(is_written)
    off = polyhost("printers", "log", "virtual-1", "off")
    assert off.err == "virtual-1: its serial log is off\n"
    assert polyhost("printers", "log", "nothing", "on").code == 5
    assert polyhost("printers", "log", "virtual-1", "maybe").code == 2


def test_what_a_printer_asks_is_shown_and_answered(polyhost: Polyhost) -> None:
    def asks() -> dict[str, object] | None:
        prompt: dict[str, object] | None = polyhost("printers", "show", "virtual-1", "--json").json["prompt"]
        return prompt

    assert polyhost("printers", "send", "virtual-1", "M600").code == 0
    _wait(asks)
    assert "click to continue (0: Continue)" in polyhost("printers", "show", "virtual-1").out
    assert polyhost("printers", "answer", "virtual-1", "1").code == 2
    assert polyhost("printers", "answer", "virtual-1", "0").err == "virtual-1 is told\n"
    assert asks() is None
    assert "asks nothing" in polyhost("printers", "answer", "virtual-1", "0").err
    polyhost("printers", "send", "virtual-1", "M117 it goes on")
    _wait(lambda: "M117 it goes on" in polyhost("printers", "console", "virtual-1").out)


def test_what_is_sent_is_in_the_console(polyhost: Polyhost) -> None:
    assert polyhost("printers", "send", "virtual-1", "M117 hello", "G28").code == 0
    _wait(lambda: "M117 hello" in polyhost("printers", "console", "virtual-1").out)
    lines = [json.loads(line) for line in polyhost("printers", "console", "virtual-1", "--json").out.splitlines()]
    assert any(line["sent"] and "G28" in line["text"] for line in lines)


def test_history_as_a_table_and_as_csv(polyhost: Polyhost, quick: Path) -> None:
    assert polyhost("print", str(quick), "--on", "virtual-1", "--follow").code == 0
    assert quick.name in polyhost("history", "--since", "1h", "--printer", "virtual-1").out
    head, *rows = polyhost("history", "--csv").out.splitlines()
    assert head.startswith("id,printer,path,state")
    assert any(quick.name in row for row in rows)
    assert polyhost("history", "--printer", "nobody-prints-here").err == "no prints yet\n"
    assert polyhost("history", "--since", "yesterday").code == 2


# Changing


def test_printers_are_connected_disconnected_added_and_removed(polyhost: Polyhost) -> None:
    added = polyhost("printers", "add", "Küche 2", "--virtual", "--speed", "0", "--json")
    assert added.json["slug"] == "kuche-2"
    _wait(lambda: polyhost("printers", "show", "kuche-2", "--json").json["state"] == "ready")
    assert polyhost("printers", "disconnect", "kuche-2").code == 0
    _wait(lambda: polyhost("printers", "show", "kuche-2", "--json").json["state"] == "offline")
    offline = polyhost("printers", "send", "kuche-2", "G28")
    assert (offline.code, "offline" in offline.err) == (6, True)
    assert polyhost("printers", "connect", "kuche-2").code == 0
    _wait(lambda: polyhost("printers", "show", "kuche-2", "--json").json["state"] == "ready")
    assert polyhost("printers", "remove", "kuche-2").code == 2
    assert polyhost("printers", "remove", "kuche-2", "--yes").code == 0
    assert polyhost("printers", "show", "kuche-2").code == 5


def test_a_scan_lists_ports_and_adds_nothing(polyhost: Polyhost) -> None:
    before = polyhost("printers", "list", "--json").json
    ports = polyhost("printers", "add", "--scan", "--json")
    assert ports.code == 0
    assert all({"path", "stable_path", "description", "serial_number"} == port.keys() for port in ports.json)
    words = polyhost("printers", "add", "--scan")
    assert "BETTER NAME" in words.out if ports.json else "no serial ports" in words.err
    assert len(polyhost("printers", "list", "--json").json) == len(before)


def test_an_emergency_stop_faults_and_a_connect_mends(polyhost: Polyhost) -> None:
    assert polyhost("printers", "add", "stopped", "--virtual", "--speed", "0").code == 0
    _wait(lambda: polyhost("printers", "show", "stopped", "--json").json["state"] == "ready")
    stopped = polyhost("printers", "stop", "stopped")
    assert (stopped.code, "printers connect stopped" in stopped.err) == (0, True)
    _wait(lambda: polyhost("printers", "show", "stopped", "--json").json["state"] == "faulted")
    assert polyhost("printers", "connect", "stopped").code == 0
    _wait(lambda: polyhost("printers", "show", "stopped", "--json").json["state"] == "ready")
    assert polyhost("printers", "remove", "stopped", "--yes").code == 0


def test_files_are_listed_shown_moved_fetched_and_deleted(polyhost: Polyhost, quick: Path, tmp_path: Path) -> None:
    uploaded = polyhost("upload", str(quick), "--to", "box", "--json")
    assert uploaded.json["path"] == f"box/{quick.name}"
    assert f"box/{quick.name}" in polyhost("files", "list").out
    assert f"box/{quick.name}" in polyhost("files", "list", "box").out
    assert uploaded.json["sha256"] in polyhost("files", "show", f"box/{quick.name}").out
    assert polyhost("files", "move", f"box/{quick.name}", "box/moved.gcode").code == 0
    target = tmp_path / "fetched.gcode"
    assert polyhost("files", "download", "box/moved.gcode", "-o", str(target)).code == 0
    assert target.read_text() == QUICK
    again = polyhost("files", "download", "box/moved.gcode", "-o", str(target))
    assert (again.code, "already" in again.err) == (6, True)
    assert polyhost("files", "delete", "box/moved.gcode").code == 2
    assert polyhost("files", "delete", "box/moved.gcode", "--yes").code == 0
    assert polyhost("files", "show", "box/moved.gcode").code == 5
    assert polyhost("files", "download", "box/moved.gcode", "-o", str(tmp_path / "no")).code == 5
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("allow", [True, False])
def test_a_program_that_asks_for_a_key(polyhost: Polyhost, host: Host, allow: bool) -> None:
    asked = httpx.post(f"{host.url}/p/virtual-2/plugin/appkeys/request", json={"app": "my app"})
    assert asked.status_code == 201
    poll = asked.headers["location"]
    shown = polyhost("key", "requests")
    assert "my app" in shown.out
    assert "virtual-2" in shown.out
    (request,) = polyhost("key", "requests", "--json").json
    assert request["id"] in shown.out
    done = polyhost("key", "allow" if allow else "deny", request["id"])
    assert done.code == 0, done.err
    fetched = httpx.get(poll)
    assert fetched.status_code == (200 if allow else 404)
    if allow:
        key = fetched.json()["api_key"]
        assert polyhost("printers", "show", "virtual-2", POLYHOST_KEY=key).code == 0
        assert polyhost("printers", "show", "virtual-1", POLYHOST_KEY=key).code == 4
    assert "my app" not in polyhost("key", "requests").out
    assert polyhost("key", "allow", request["id"]).code == 5


def test_users_and_keys(polyhost: Polyhost, host: Host) -> None:
    assert polyhost("user", "add", "ana", "--role", "operator").code == 2  # no terminal to ask on
    short = polyhost("user", "add", "ana", "--password-stdin", stdin="short\n")
    assert short.code == 2
    added = polyhost("user", "add", "ana", "--role", "viewer", "--password-stdin", stdin="long enough\n")
    assert (added.code, added.err) == (0, "ana is added, as viewer\n")
    assert any(row.split()[:2] == ["ana", "viewer"] for row in polyhost("user", "list").out.splitlines())
    assert polyhost("user", "password", "ana", "--password-stdin", stdin="even longer\n").code == 0
    too_much = polyhost("key", "add", "ana", "--role", "operator")
    assert too_much.code == 4
    made = polyhost("key", "add", "ana", "--role", "viewer", "--app", "watch", "--until", "2099-01-31")
    assert made.code == 0
    key = made.out.strip()
    assert polyhost("printers", "list", POLYHOST_KEY=key).code == 0
    refused = polyhost("printers", "send", "virtual-1", "G28", POLYHOST_KEY=key)
    assert (refused.code, refused.out) == (4, "")
    (listed,) = [key for key in polyhost("key", "list", "--json").json if key["app"] == "watch"]
    assert key not in polyhost("key", "list", "--json").out
    assert polyhost("key", "revoke", listed["id"]).code == 0
    assert polyhost("printers", "list", POLYHOST_KEY=key).code == 4
    assert polyhost("user", "remove", "ana", "--yes").code == 0
    assert polyhost("user", "remove", "ana", "--yes").code == 5
    assert polyhost("key", "add", "nobody").code == 5


# What is wrong


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["printers", "show", "nobody"], 5, "no printer 'nobody'; there are: virtual-1"),
        (["follow", "nobody"], 5, "nobody"),
        (["follow", "virtual-3"], 6, "prints nothing"),
        (["pause", "virtual-3"], 6, ""),
        (["resume", "nobody"], 5, "nobody"),
        (["cancel", "virtual-3", "--yes"], 6, "prints nothing"),
        (["print", "nothing.gcode", "--on", "virtual-3"], 5, "nothing.gcode"),
        (["print", "nothing.gcode"], 2, "which printer?"),
        (["upload", "/nowhere/at-all.gcode"], 5, "no file"),
        (["upload", "/"], 5, "/ is a folder"),
        (["upload", "/etc/hostname"], 2, "hostname"),
        (["print", "/etc/hostname", "--on", "virtual-3"], 2, "hostname"),
        (["files", "show", "nothing.gcode"], 5, "nothing.gcode"),
        (["files", "list", "no-such-folder"], 5, "no-such-folder"),
        (["printers", "add"], 2, "needs a name"),
        (["printers", "add", "x"], 2, "--virtual"),
        (["printers", "add", "x", "--virtual", "--port", "/dev/null"], 2, "either"),
        (["printers", "add", "again", "--slug", "virtual-1", "--virtual"], 6, "virtual-1"),
        (["printers", "remove", "no-such-printer", "--yes"], 5, "no-such-printer"),
        (["printers", "send", "gone", "G28"], 6, "gone"),
        (["printers", "send", "virtual-3", "G28\nG1"], 2, ""),
        (["printers", "connect", "gone", "--port", "/dev/nothing"], 5, "/dev/nothing"),
        (["printers", "temp", "virtual-3", "oven=200"], 5, "oven"),
        (["printers", "temp", "virtual-3", "hotend"], 2, "no target"),
        (["key", "revoke", "no-such-key"], 5, "no-such-key"),
        (["history", "--limit", "0"], 2, ""),
        (["files", "show", ""], 2, "name a file"),
        (["files", "show", "../secret.key"], 2, ""),
        (["printers", "list", "--key", "clé"], 2, "no API key"),
        (["no-such-command"], 2, ""),
        (["print"], 2, ""),
        (["pause"], 2, "name one of: "),
        (["cancel", "--yes"], 2, "name one of: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_input_gets_a_sentence_and_its_exit_code(
    polyhost: Polyhost, arguments: list[str], code: int, words: str
) -> None:
    ran = polyhost(*arguments)
    assert ran.code == code, ran.err
    assert words in ran.err
    assert ran.out == ""


def test_a_busy_printer_starts_nothing_else(polyhost: Polyhost, printing: str, quick: Path) -> None:
    ran = polyhost("print", str(quick), "--on", printing)
    assert ran.code == 6
    assert "print" in ran.err


def test_nobody_at_the_address_is_said_so() -> None:
    ran = run("printers", "list", "--server", "http://127.0.0.1:9")
    assert (ran.code, ran.out) == (3, "")
    assert "no host answers at http://127.0.0.1:9" in ran.err
    assert run("printers", "list", "--server", "localhost:9").code == 2


def test_without_a_host_in_the_data_folder_the_way_out_is_named(tmp_path: Path) -> None:
    ran = run("status", "--data", str(tmp_path))
    assert ran.code == 3
    assert "polyhost serve" in ran.err


def test_a_wrong_key_is_not_allowed(polyhost: Polyhost) -> None:
    ran = polyhost("printers", "list", POLYHOST_KEY="wrong")
    assert (ran.code, ran.out) == (4, "")


def test_on_the_host_itself_its_owner_needs_no_key(host: Host) -> None:
    ran = run("printers", "list", "--data", str(host.data), "--json")
    assert ran.code == 0, ran.err
    assert "virtual-1" in {printer["slug"] for printer in ran.json}


def test_the_version() -> None:
    assert run("version").out == f"polyhost {__version__}\n"
    assert run("version", "--json").json == {"version": __version__}


def test_help_imports_little() -> None:
    heavy = "{'httpx', 'uvicorn', 'starlette', 'numpy', 'sqlite3', 'rich', 'jinja2', 'serial'}"
    code = f"import sys; import polyhost.cli; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
