"""The journal: whole entries or none, whatever is cut off, and a disk that refuses."""

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyhost.core.job import RunState
from polyhost.core.ports import RunOrder
from polyhost.engine import journal
from polyhost.engine.journal import (
    MAGIC,
    Entry,
    Journal,
    Kept,
    PrinterRecord,
    Released,
    RunRecord,
    Went,
    encoded,
    entries_of,
    fold,
)
from polyhost.engine.messages import MachineSettings, SerialLink, VirtualLink
from polyhost.gcode.modal import ModalState

names = st.sampled_from(["mk3", "voron", "ender"])
runs = st.builds(
    RunRecord,
    order=st.builds(
        RunOrder,
        run_id=st.uuids().map(str),
        file=st.text(max_size=20),
        name=st.text(max_size=20),
        size_bytes=st.integers(0, 1 << 40),
        sha256=st.just("0" * 64),
    ),
    state=st.sampled_from(RunState),
    started_at=st.floats(0, 1e10),
)
records = st.builds(
    PrinterRecord,
    machine=st.builds(MachineSettings, link=st.sampled_from([VirtualLink(), SerialLink("/dev/ttyUSB0", 250000)])),
    wanted=st.booleans(),
    hot=st.booleans(),
    run=st.none() | runs,
)
progress = st.builds(
    Went,
    names,
    elapsed_s=st.floats(0, 1e6),
    printing_s=st.floats(0, 1e6),
    file_bytes=st.integers(0, 1 << 40),
    lines=st.integers(0, 1 << 30),
    modal=st.builds(ModalState, bed=st.floats(0, 100), hotends=st.dictionaries(st.integers(0, 3), st.floats(0, 300))),
)
histories: st.SearchStrategy[list[Entry]] = st.lists(
    st.builds(Kept, names, records) | st.builds(Released, names) | progress, max_size=8
)


@given(histories, st.data())
def test_a_crash_at_any_byte_leaves_the_entries_before_it(history: list[Entry], data: st.DataObject) -> None:
    ends = [len(MAGIC)]
    whole = MAGIC
    for entry in history:
        whole += encoded(entry)
        ends.append(len(whole))
    cut = data.draw(st.integers(0, len(whole)))
    survived = entries_of(whole[:cut])
    assert survived == history[: sum(end <= cut for end in ends[1:])]


@given(histories.filter(bool), st.data())
def test_a_flipped_bit_is_not_believed(history: list[Entry], data: st.DataObject) -> None:
    whole = bytearray(MAGIC + b"".join(map(encoded, history)))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= 1 << data.draw(st.integers(0, 7))
    read = entries_of(bytes(whole))
    assert read == history[: len(read)]
    assert len(read) < len(history)


def test_progress_is_that_of_the_run_in_progress() -> None:
    run = RunRecord(RunOrder("r", "/f", "f", 100, ""), RunState.PRINTING, 0.0)
    machine = MachineSettings(VirtualLink())
    known: dict[str, PrinterRecord] = {}
    went = Went("mk3", 3.0, 2.0, 50, 7, ModalState(z=1.2))
    fold(known, [went, Kept("mk3", PrinterRecord(machine, run=run)), went])
    kept = known["mk3"].run
    assert kept is not None
    assert (kept.file_bytes, kept.lines, kept.elapsed_s) == (50, 7, 3.0)
    assert kept.modal is not None
    assert kept.modal.z == 1.2
    fold(known, [Released("mk3"), went])
    assert known == {}


async def written(kept: Journal, entry: Entry) -> None:
    done = asyncio.Event()
    kept.write(entry, done.set)
    await asyncio.wait_for(done.wait(), 10)


def opened(path: Path) -> Journal:
    kept = Journal(path, asyncio.get_running_loop().call_soon_threadsafe)
    kept.read()
    kept.start()
    return kept


async def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    first = opened(tmp_path / "journal")
    record = PrinterRecord(MachineSettings(VirtualLink()), hot=True)
    await written(first, Kept("mk3", record))
    await written(first, Kept("voron", record))
    await written(first, Released("voron"))
    assert first.failure == ""
    # Not closed: this is what a kill leaves.
    second = Journal(tmp_path / "journal", asyncio.get_running_loop().call_soon_threadsafe)
    assert second.read() == {"mk3": record}
    first.close()


async def test_it_does_not_grow_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "REWRITE_BYTES", 2000)
    kept = opened(tmp_path / "journal")
    run = RunRecord(RunOrder("r", "/f", "f", 100, ""), RunState.PRINTING, 0.0)
    await written(kept, Kept("mk3", PrinterRecord(MachineSettings(VirtualLink()), run=run)))
    for line in range(100):
        await written(kept, Went("mk3", 1.0, 1.0, line, line, ModalState()))
        assert (tmp_path / "journal").stat().st_size < 3000
    kept.close()
    last = Journal(tmp_path / "journal", asyncio.get_running_loop().call_soon_threadsafe).read()["mk3"].run
    assert last is not None
    assert last.lines == 99


async def test_a_disk_that_refuses_is_said_and_recovered_from(tmp_path: Path) -> None:
    folder = tmp_path / "engine"
    kept = opened(folder / "journal")
    record = PrinterRecord(MachineSettings(VirtualLink()), hot=True)
    await written(kept, Kept("mk3", record))
    assert kept.failure == os.strerror(2)
    folder.mkdir()
    await written(kept, Released("voron"))
    assert kept.failure == ""
    kept.close()
    again = Journal(folder / "journal", asyncio.get_running_loop().call_soon_threadsafe)
    assert again.read() == {"mk3": record}
