"""`doctor` finds what keeps a computer from being a host, and needs no host to do it."""

import os
import socket
import sqlite3
from pathlib import Path

import pytest

from polyhost.commands.doctor import Finding, Level, examine
from tests.commands.conftest import run


def found(data: Path, check: str, config: Path | None = None) -> Finding:
    (finding,) = [finding for finding in examine(data, config) if finding.check == check]
    return finding


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    return folder


def test_a_new_computer_is_fine(data: Path) -> None:
    assert found(data, "data folder").level is Level.OK
    assert found(data, "database").level is Level.OK
    assert found(data / "not-yet", "data folder").level is Level.OK


def test_a_folder_that_others_can_read(data: Path) -> None:
    data.chmod(0o755)
    finding = found(data, "data folder")
    assert (finding.level, finding.fix) == (Level.WARN, f"chmod 700 '{data}'")


def test_a_damaged_database_is_named_with_its_backup(data: Path) -> None:
    (data / "polyhost.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 4000)
    (data / "backups").mkdir()
    (data / "backups" / "polyhost-1.db").touch()
    finding = found(data, "database")
    assert finding.level is Level.FAIL
    assert "polyhost-1.db" in finding.fix


def test_a_whole_database(data: Path) -> None:
    database = sqlite3.connect(data / "polyhost.db")
    database.execute("CREATE TABLE a (b)")
    database.close()
    assert "whole" in found(data, "database").words


def test_logs_are_counted(data: Path) -> None:
    assert found(data, "logs").words == "none yet"
    (data / "log").mkdir()
    (data / "log" / "polyhost.log").write_text("x" * 1000)
    assert found(data, "logs").words == f"1 in {data / 'log'}, 1.0 kB"


def test_a_command_without_its_program_is_named(data: Path, tmp_path: Path) -> None:
    config = tmp_path / "polyhost.toml"
    config.write_text(
        '[system]\nrestart = ["/bin/sh", "-c", ":"]\nshutdown = ["/nothing/here"]\n'
        f'[[actions]]\naction = "lamp"\ncommand = ["{tmp_path}"]\n[[actions]]\naction = "divider"\n'
    )
    findings = {f.check: f.level for f in examine(data, config) if f.check.startswith("command ")}
    assert findings == {"command restart": Level.OK, "command shutdown": Level.WARN, "command lamp": Level.WARN}


def test_a_port_in_use_is_named_with_the_program_that_has_it(data: Path, tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        config = tmp_path / "polyhost.toml"
        config.write_text(f'[server]\nhost = "127.0.0.1"\nport = {port}\n')
        finding = found(data, "main port", config)
    assert finding.level is Level.FAIL
    assert f"port {port} is in use by" in finding.words
    assert f"(process {os.getpid()})" in finding.words


def test_settings_that_cannot_be_read(data: Path, tmp_path: Path) -> None:
    config = tmp_path / "polyhost.toml"
    config.write_text("[server]\nprot = 1\n")
    finding = found(data, "settings", config)
    assert finding.level is Level.FAIL
    assert "`port`" in finding.words


def test_the_command_prints_words_or_json_and_fails_when_something_did(data: Path, tmp_path: Path) -> None:
    (data / "polyhost.db").write_bytes(b"garbage" * 1000)
    words = run("doctor", "--data", str(data))
    assert words.code == 1
    assert "FAIL  database" in words.out
    as_json = run("doctor", "--data", str(data), "--json")
    assert as_json.code == 1
    assert {"check", "level", "words", "fix"} == set(as_json.json[0])


def test_trusted_networks_are_looked_at(data: Path, tmp_path: Path) -> None:
    config = tmp_path / "polyhost.toml"
    config.write_text('[access.trusted]\n"192.168.1.0/24" = "operator"\n"0.0.0.0/0" = "viewer"')
    assert found(data, "trusted network 192.168.1.0/24", config).level is Level.OK
    finding = found(data, "trusted network 0.0.0.0/0", config)
    assert finding.level is Level.WARN
    assert "internet" in finding.words


def test_servers_that_the_settings_name_are_looked_for(data: Path, tmp_path: Path) -> None:
    config = tmp_path / "polyhost.toml"
    with socket.create_server(("127.0.0.1", 0)) as there, socket.create_server(("127.0.0.1", 0)) as gone:
        url = "http://127.0.0.1:{}/"
        answers, silent = url.format(there.getsockname()[1]), url.format(gone.getsockname()[1])
        gone.close()
        switch = '[[power]]\nname = "{}"\ntype = "http"\non_url = "{}"\noff_url = "{}"\n'
        config.write_text(f'[moonraker]\nspoolman = "{answers}"\n' + switch.format("psu", silent, silent))
        assert found(data, "Spoolman", config).level is Level.OK
        finding = found(data, "power psu", config)
    assert finding.level is Level.WARN
    assert finding.fix


def test_passwords_that_others_can_read_are_warned_of(data: Path, tmp_path: Path) -> None:
    config = tmp_path / "polyhost.toml"
    config.write_text(
        '[[power]]\nname = "psu"\ntype = "tasmota"\nurl = "http://127.0.0.1:9"\nuser = "me"\npassword = "secret"\n'
    )
    config.chmod(0o644)
    assert found(data, "settings", config).fix == f"chmod 600 '{config}'"
    config.chmod(0o600)
    assert not [finding for finding in examine(data, config) if finding.check == "settings"]


def test_a_path_too_long_for_a_local_socket_is_named(tmp_path: Path) -> None:
    data = tmp_path / ("deep" * 20)
    (data / "printers" / "mk3").mkdir(parents=True)
    assert found(data, "local socket of mk3").level is Level.WARN
    (tmp_path / "printers" / "mk3").mkdir(parents=True)
    if len(str(tmp_path)) < 60:
        assert not [finding for finding in examine(tmp_path, None) if finding.check.startswith("local socket")]
