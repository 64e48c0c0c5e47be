"""A host for the simulator: it sends a line, follows the simulator's deadlines, and hears the answer."""

from collections.abc import Iterable
from functools import reduce
from operator import xor

from polyhost.firmware.marlin.simulator import Machine, Simulator

FOREVER_S = 1e7


def numbered(number: int, body: str) -> bytes:
    text = f"N{number} {body}".encode()
    return text + b"*%d\n" % reduce(xor, text)


class Bench:
    """A booted machine and the host's clock."""

    def __init__(self, machine: Machine | None = None, *, speed: float = 0.0, seed: int = 0) -> None:
        self.recorded: list[bytes] = []
        self.simulator = Simulator(machine or Machine(), speed=speed, seed=seed, record=self.recorded.append)
        self.now = 0.0
        self.simulator.open(self.now)
        self.banner = self.until(1.0 / speed if speed else 0.0)

    def until(self, now: float) -> list[str]:
        """What is said until `now`."""
        said = b""
        while (deadline := self.simulator.next_deadline()) is not None and deadline <= now:
            self.now = max(self.now, deadline)
            said += self.simulator.data_to_send(self.now)
        self.now = max(self.now, now)
        return (said + self.simulator.data_to_send(self.now)).decode("utf-8", "replace").splitlines()

    def feed(self, data: bytes) -> list[str]:
        """What is said at once after `data`."""
        self.simulator.receive(data, self.now)
        return self.until(self.now)

    def say(self, *commands: str) -> list[str]:
        """Send each command when the one before it is acknowledged; all that is said."""
        heard: list[str] = []
        for command in commands:
            self.simulator.receive(command.encode() + b"\n", self.now)
            heard += self.until_ok()
        return heard

    def until_ok(self) -> list[str]:
        heard = self.until(self.now)
        while not any(text.startswith("ok") for text in heard):
            deadline = self.simulator.next_deadline()
            assert deadline is not None, f"no ok comes after {heard}"
            assert deadline < FOREVER_S
            heard += self.until(deadline)
        return heard

    def run(self, commands: Iterable[str]) -> float:
        """Seconds that `commands` take to their end."""
        began = self.now
        for command in commands:
            self.say(command)
        self.say("M400")
        return self.now - began
