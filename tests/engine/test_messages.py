"""The frames between server and engine."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyhost.core.events import ConsoleLine, ConsoleLines, FirmwareSpoke, RunStateChanged
from polyhost.core.file import LayerIndex
from polyhost.core.job import RunProgress, RunState
from polyhost.core.ports import RunOrder, Scripts
from polyhost.core.printer import Snapshot, Temperature
from polyhost.engine.messages import (
    MAX_FRAME,
    EndedRun,
    Frames,
    Heard,
    Hello,
    Hold,
    MachineSettings,
    Request,
    SerialLink,
    StartRun,
    VirtualLink,
    frame,
    request_of,
    said_of,
)

REQUESTS: list[Request] = [
    Hello(id=1),
    Hold(id=2, printer="mk3", machine=MachineSettings(SerialLink("/dev/ttyACM0", 115200, "CZPX1"))),
    Hold(id=3, printer="v", machine=MachineSettings(VirtualLink(60.0))),
    StartRun(
        id=4,
        printer="mk3",
        order=RunOrder(
            "r", "/f", "f", 9, "00", Scripts(after_pause=("G1 X{x}",)), LayerIndex((0,), (0.2,), (0.0,), 1.0)
        ),
    ),
]

HEARD = Heard(
    snapshots=(
        Snapshot("mk3", heaters={"tool0": Temperature(20.5, 0.0)}, run=RunProgress("r", RunState.PAUSED, 1, 9)),
    ),
    events=(RunStateChanged("mk3", "r", RunState.PAUSED), FirmwareSpoke("mk3", "Error:x", fault=True)),
    console=(ConsoleLines("mk3", (ConsoleLine(1.5, True, "G28"),)),),
    ended=(EndedRun("r", RunState.FAILED, "link lost", 1.0, 2.0, 3.0, 4),),
)


@pytest.mark.parametrize("request_", REQUESTS)
def test_a_request_comes_out_as_it_went_in(request_: Request) -> None:
    (body,) = Frames().receive(frame(request_))
    assert request_of(body) == request_


def test_what_an_engine_says_comes_out_as_it_went_in() -> None:
    (body,) = Frames().receive(frame(HEARD))
    assert said_of(body) == HEARD


@given(st.sets(st.integers(1, 400)))
def test_how_the_socket_cuts_the_bytes_never_changes_what_is_heard(cuts: set[int]) -> None:
    data = b"".join(frame(request) for request in REQUESTS)
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    frames = Frames()
    heard = [request_of(body) for a, b in itertools.pairwise(edges) for body in frames.receive(data[a:b])]
    assert heard == REQUESTS


def test_a_frame_beyond_the_bound_is_refused_before_it_is_read() -> None:
    with pytest.raises(ValueError, match="limit"):
        list(Frames().receive((MAX_FRAME + 1).to_bytes(4, "big")))


def test_a_stranger_is_not_understood() -> None:
    with pytest.raises(msgspec.DecodeError):
        request_of(b"GET / HTTP/1.1")
