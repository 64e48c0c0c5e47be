"""The simulated machine behind a real pty, through pyserial, as a host would have it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import serial
from hypothesis import given
from hypothesis import strategies as st

from polyhost.engine.pty_simulator import Wire
from tests.firmware.simulated import numbered
from tests.integration.processes import PtyPrinter, until

RATE = 1000.0  # bytes a second


@given(
    parts=st.lists(st.tuples(st.binary(min_size=1, max_size=50), st.floats(0.0, 0.2)), max_size=10),
    latency_s=st.sampled_from([0.0, 0.01, 0.5]),
    step_s=st.floats(0.001, 0.1),
)
def test_a_wire_carries_every_byte_in_order_and_none_too_early(
    parts: list[tuple[bytes, float]], latency_s: float, step_s: float
) -> None:
    wire = Wire(RATE, latency_s)
    now, free_at, took, arrived = 0.0, 0.0, b"", b""
    earliest: list[float] = []
    for data, pause_s in parts:
        wire.put(data, now)
        begins = max(now, free_at)
        free_at = begins + len(data) / RATE
        earliest += [begins + (n + 1) / RATE + latency_s for n in range(len(data))]
        took += data
        now += pause_s
        arrived += wire.take(now)
        assert all(at <= now + 1e-6 for at in earliest[: len(arrived)])
        assert wire.backlog == len(took) - len(arrived)
    while wire.next_deadline() is not None:
        now += step_s
        arrived += wire.take(now)
        assert all(at <= now + 1e-6 for at in earliest[: len(arrived)])
    assert arrived == took


def test_a_wire_tells_when_a_line_is_there() -> None:
    wire = Wire(RATE, 0.25)
    wire.put(b"G28\nM105", 10.0)
    assert wire.next_deadline() == pytest.approx(10.254)
    assert wire.take(10.2535) == b"G28"
    assert wire.take(10.2541) == b"\n"
    assert wire.next_deadline() == pytest.approx(10.258)
    assert wire.take(10.2581) == b"M105"
    assert wire.next_deadline() is None


def test_a_wire_without_a_rate_takes_only_the_latency() -> None:
    wire = Wire(0.0, 0.5)
    wire.put(b"x" * 10_000, 1.0)
    assert wire.take(1.4) == b""
    assert len(wire.take(1.5)) == 10_000


@pytest.fixture
def machine(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[PtyPrinter]:
    with PtyPrinter(tmp_path, getattr(request, "param", ("--speed", "0"))) as printer:
        yield printer


def opened(machine: PtyPrinter, baud: int = 115200) -> serial.Serial:
    return serial.Serial(str(machine.port), baud, timeout=5)


def hear(port: serial.Serial, last: bytes) -> list[bytes]:
    """Lines up to the one that starts with `last`."""
    heard: list[bytes] = []
    while not heard or not heard[-1].startswith(last):
        text = port.readline()
        assert text.endswith(b"\n"), f"nothing comes after {heard}"
        heard.append(text.rstrip())
    return heard


def greeted(machine: PtyPrinter) -> serial.Serial:
    port = opened(machine)
    hear(port, b"start")
    hear(port, b"echo:SD card ok")
    return port


def test_it_greets_and_answers(machine: PtyPrinter) -> None:
    with closing(opened(machine)) as port:
        assert hear(port, b"echo:SD card ok")[0] == b"start"
        for number, body in enumerate(["M110 N0", "M105", "G28", "G1 X10 F6000"]):
            port.write(numbered(number, body))
            assert hear(port, b"ok")
        statistics = machine.statistics()
    assert statistics["executed"] == 4
    assert statistics["last_line"] == 3
    assert len(statistics["digest"]) == 64
    assert machine.executed() == [b"M110 N0", b"M105", b"G28", b"G1 X10 F6000"]


def test_opening_again_resets_however_quickly(machine: PtyPrinter) -> None:
    for _ in range(30):
        opened(machine).close()
    for _ in range(3):
        boots = machine.statistics()["boots"]
        with closing(greeted(machine)):
            assert machine.statistics()["boots"] > boots
    with closing(opened(machine)) as port:
        assert hear(port, b"echo:SD card ok")[0] == b"start"  # and nothing left over from before


def test_a_second_opening_while_it_is_open_resets_nothing(machine: PtyPrinter) -> None:
    with closing(greeted(machine)) as port, closing(opened(machine)):
        port.write(b"M110 N0\n")
        assert hear(port, b"ok") == [b"ok"]
        assert machine.statistics()["opens"] == 1


@pytest.mark.parametrize("machine", [("--speed", "0", "--no-reset")], indirect=True)
def test_without_dtr_it_goes_on_where_it_was(machine: PtyPrinter) -> None:
    with closing(opened(machine)) as port:
        port.write(b"M110 N7\n")
        hear(port, b"ok")
    with closing(opened(machine)) as port:
        port.write(numbered(8, "M105"))
        assert hear(port, b"ok")[-1].startswith(b"ok T:")


def test_what_the_host_wrote_before_it_closed_is_done(machine: PtyPrinter) -> None:
    port = greeted(machine)
    port.write(b"M104 S200\nM140 S60\n")
    port.close()
    until(lambda: machine.statistics()["targets"] == {"tool0": 200.0, "bed": 60.0}, "the targets", 5.0)


def test_it_outlives_a_killed_host_and_remembers(machine: PtyPrinter) -> None:
    script = (
        "import serial, sys, time\n"
        f"port = serial.Serial({str(machine.port)!r}, 115200)\n"
        "port.read_until(b'card ok')\n"
        "port.write(b'M104 S210\\n')\n"
        "port.read_until(b'ok')\n"
        "print('sent', flush=True)\n"
        "time.sleep(60)\n"
    )
    host = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert host.stdout is not None
    assert host.stdout.readline() == b"sent\n"
    host.kill()
    host.wait(5)
    host.stdout.close()
    assert machine.statistics()["targets"]["tool0"] == 210.0
    with closing(greeted(machine)):
        assert machine.statistics()["targets"]["tool0"] == 0.0  # opening it was a reset
    assert machine.executed() == [b"M104 S210"]


@pytest.mark.parametrize("machine", [("--speed", "0", "--baud", "38400")], indirect=True)
def test_bytes_take_their_time_in_both_directions(machine: PtyPrinter) -> None:
    with closing(greeted(machine)) as port:
        began = time.monotonic()
        port.write(b"M115\n")
        answer = hear(port, b"ok")
        elapsed = time.monotonic() - began
        size = sum(len(text) + 1 for text in answer)
        assert elapsed >= (size + 5) / 3840 * 0.98
        began = time.monotonic()
        port.write(b"; " + b"x" * 1000 + b"\nM110 N0\n")
        hear(port, b"ok")
        assert time.monotonic() - began >= 1010 / 3840 * 0.98


@pytest.mark.parametrize("machine", [("--speed", "0", "--baud", "250000", "--check-baud")], indirect=True)
def test_a_host_at_another_rate_hears_noise(machine: PtyPrinter) -> None:
    with closing(opened(machine, 115200)) as port:
        assert b"start" not in port.read(100)
    with closing(opened(machine, 250000)) as port:
        hear(port, b"start")


@pytest.mark.parametrize("machine", [("--speed", "0", "--latency-ms", "60")], indirect=True)
def test_latency_is_there_and_back(machine: PtyPrinter) -> None:
    with closing(greeted(machine)) as port:
        began = time.monotonic()
        port.write(b"M110 N0\n")
        hear(port, b"ok")
        assert 0.058 <= time.monotonic() - began < 1.0


def test_unplugged_the_port_is_gone_until_it_is_plugged_in_again(machine: PtyPrinter) -> None:
    with closing(greeted(machine)) as port:
        port.write(b"M104 S200\n")
        hear(port, b"ok")
        machine.tell("unplug")
        with pytest.raises(serial.SerialException):
            until(lambda: port.read(1) and port.write(b"M105\n"), "the port to fail", 5.0)
    until(lambda: not os.path.lexists(machine.port), "the link to go", 5.0)
    assert machine.statistics()["targets"]["tool0"] == 200.0
    machine.tell("replug")
    until(machine.port.exists, "the link to come back", 5.0)
    with closing(greeted(machine)):
        assert machine.statistics()["targets"]["tool0"] == 0.0


def test_it_misbehaves_when_told(machine: PtyPrinter) -> None:
    with closing(greeted(machine)) as port:
        port.write(numbered(0, "M110 N0"))
        hear(port, b"ok")
        machine.tell("fault reset")
        hear(port, b"start")
        hear(port, b"echo:SD card ok")
        machine.tell("fault lose_ok 1")
        machine.tell("fault nonsense")
        until(lambda: b"nonsense" in os.read(machine._process.stdout.fileno(), 4096), "the complaint", 5.0)  # type: ignore[union-attr]
        port.write(b"M110 N0\nM220\n")
        assert hear(port, b"ok") == [b"FR:100%", b"ok"]
        machine.tell("fault thermal")
        assert hear(port, b"Error:Printer halted")[0].startswith(b"Error:Thermal Runaway")
        assert machine.statistics()["halted"]


@pytest.mark.parametrize(
    "machine", [("--speed", "0", "--tools", "2", "--advanced-ok", "--fault", "lose_ok=1")], indirect=True
)
def test_its_options_are_heard(machine: PtyPrinter) -> None:
    with closing(greeted(machine)) as port:
        port.write(b"M105\nM105\n")
        assert b" T1:21.00 /0.00 " in hear(port, b"ok")[0]
        port.write(numbered(1, "M220 S100"))
        assert hear(port, b"ok") == [b"ok N1 P15 B3"]


def test_it_waits_without_spinning(machine: PtyPrinter) -> None:
    process = psutil.Process(machine._process.pid)

    def switches_in(seconds: float) -> int:
        before = process.num_ctx_switches().voluntary
        time.sleep(seconds)
        return process.num_ctx_switches().voluntary - before

    assert switches_in(0.2) < 20  # never opened
    with closing(greeted(machine)):
        assert switches_in(0.2) < 20
    machine.statistics()
    assert switches_in(0.2) < 20  # closed again


def test_sigterm_writes_what_it_knows_and_takes_the_link_away(tmp_path: Path) -> None:
    with PtyPrinter(tmp_path, ("--speed", "0")) as machine:
        with closing(greeted(machine)) as port:
            port.write(b"G28\n")
            hear(port, b"ok")
        machine._process.send_signal(signal.SIGTERM)
        assert machine._process.wait(5) == 0
        assert not os.path.lexists(machine.port)
        assert (tmp_path / "executed").read_bytes() == b"G28\n"
        assert b'"executed": 1' in (tmp_path / "stats.json").read_bytes()
