"""What a person at a terminal sees: a bar drawn in place, a live screen, questions."""

import os
import pty
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.commands.conftest import Host, Ran, command, environment


class Terminal:
    """A command at a terminal of its own."""

    def __init__(self, host: Host, *arguments: str) -> None:
        self._master, slave = pty.openpty()
        known = environment(POLYHOST_SERVER=host.url, POLYHOST_KEY=host.api_key, TERM="xterm", LINES="24")
        self.process = subprocess.Popen(command(*arguments), stdin=slave, stdout=slave, stderr=slave, env=known)
        os.close(slave)
        self.seen = ""

    def until(self, text: str, seconds: float = 30.0) -> None:
        """Read on until `text` was shown."""
        end = time.monotonic() + seconds
        while text not in self.seen:
            assert self._read(end - time.monotonic()), f"{text!r} was not shown: {self.seen!r}"

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def end(self) -> int:
        """The exit code, once everything it showed is read."""
        while self._read(30.0):
            pass
        return self.process.wait(30)

    def _read(self, within_s: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0.0, within_s))
        if not ready:
            return False
        try:
            shown = os.read(self._master, 65536)
        except OSError:  # the other end was closed
            return False
        self.seen += shown.decode(errors="replace")
        return bool(shown)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(30)
        os.close(self._master)


@pytest.fixture
def at_terminal(host: Host) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(*arguments: str) -> Terminal:
        opened.append(Terminal(host, *arguments))
        return opened[-1]

    yield start
    for terminal in opened:
        terminal.close()


def test_a_print_is_followed_on_one_line(at_terminal: Callable[..., Terminal], tmp_path: Path) -> None:
    file = tmp_path / "on-one-line.gcode"
    file.write_text("".join(f"G1 X{n % 100} Y{n % 70} F6000\n" for n in range(500)))
    terminal = at_terminal("print", str(file), "--on", "virtual-1", "--follow")
    assert terminal.end() == 0, terminal.seen
    *_, drawn = terminal.seen.strip().splitlines()
    assert "\r" in terminal.seen
    assert "on-one-line.gcode  ▓" in drawn
    assert "100 %  completed" in drawn
    assert all(len(piece.replace("\x1b[K", "")) < 100 for piece in drawn.split("\r"))


def test_the_live_screen_lives_until_q(at_terminal: Callable[..., Terminal]) -> None:
    terminal = at_terminal("status", "--watch")
    terminal.until("q quits")
    terminal.until("virtual-1")
    terminal.type("q")
    assert terminal.end() == 0


def test_a_person_is_asked_before_something_goes(
    at_terminal: Callable[..., Terminal], polyhost: Callable[..., Ran]
) -> None:
    assert polyhost("printers", "add", "doomed", "--virtual").code == 0
    refused = at_terminal("printers", "remove", "doomed")
    refused.until("Type doomed to confirm: ")
    refused.type("yes\n")
    assert refused.end() == 6
    agreed = at_terminal("printers", "remove", "doomed")
    agreed.until("Type doomed to confirm: ")
    agreed.type("doomed\n")
    assert agreed.end() == 0
    assert polyhost("printers", "show", "doomed").code == 5


def test_a_password_is_asked_for_twice_and_never_shown(
    at_terminal: Callable[..., Terminal], polyhost: Callable[..., Ran]
) -> None:
    terminal = at_terminal("user", "add", "eve")
    terminal.until("Password for eve: ")
    terminal.type("correct horse\n")
    terminal.until("Again: ")
    terminal.type("correct horse\n")
    assert terminal.end() == 0, terminal.seen
    assert "horse" not in terminal.seen
    assert polyhost("user", "remove", "eve", "--yes").code == 0
