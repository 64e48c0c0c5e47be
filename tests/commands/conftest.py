"""A real host, started as a person would start the demo, and the command line as a person calls it."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from polyhost import cli

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Host:
    url: str
    api_key: str
    printers: tuple[str, ...]
    data: Path
    pid: int


@dataclass(frozen=True)
class Ran:
    """How a command went."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("POLYHOST_")}
    return {**kept, "NO_COLOR": "1", "COLUMNS": "100", "PYTHONUNBUFFERED": "1", **more}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "polyhost.cli", *arguments]


def run(*arguments: str, stdin: str = "", **more: str) -> Ran:
    """A command, run in this process, which saves the start of another; without a terminal."""
    out, err = io.StringIO(), io.StringIO()
    before = os.umask(0o022)
    with (
        mock.patch.dict(os.environ, environment(**more), clear=True),
        mock.patch("sys.stdin", io.StringIO(stdin)),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        cli.app(arguments, prog_name="polyhost")
    os.umask(before)
    code = ended.value.code or 0
    assert isinstance(code, int)
    return Ran(code, out.getvalue(), err.getvalue())


def start_demo(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command("demo", "--json", "--port", "0", *arguments), stdout=subprocess.PIPE, text=True, env=environment()
    )


def host_of(demo: subprocess.Popen[str]) -> Host:
    """The host that `demo` says is ready."""
    assert demo.stdout is not None
    said = json.loads(demo.stdout.readline())
    return Host(said["url"], said["api_key"], tuple(said["printers"]), Path(said["data"]), said["pid"])


def end(process: subprocess.Popen[str]) -> int:
    process.send_signal(signal.SIGTERM)
    code = process.wait(PATIENCE_S)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    return code


@pytest.fixture(scope="session")
def host() -> Iterator[Host]:
    """Three virtual printers as fast as possible, one that takes its time, one whose port is not there."""
    demo = start_demo("--printers", "3", "--speed", "0")
    try:
        host = host_of(demo)
        polyhost = commands_at(host)
        assert polyhost("printers", "add", "slow", "--virtual").code == 0
        assert polyhost("printers", "add", "gone", "--port", "/dev/serial/by-id/usb-nobody").code == 0
        yield host
    finally:
        end(demo)


def commands_at(host: Host) -> Callable[..., Ran]:
    def polyhost(*arguments: str, stdin: str = "", **more: str) -> Ran:
        return run(*arguments, stdin=stdin, **{"POLYHOST_SERVER": host.url, "POLYHOST_KEY": host.api_key, **more})

    return polyhost


@pytest.fixture
def polyhost(host: Host) -> Callable[..., Ran]:
    """The command line, talking to `host` as its administrator."""
    return commands_at(host)
