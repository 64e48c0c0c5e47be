"""Objects that are left out: what is printed, where and with how much, is what the rest of the file says."""

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyhost.core.file import NamedObject
from polyhost.engine.skipping import Skipping
from polyhost.firmware.marlin.simulator import Machine
from polyhost.gcode.modal import ModalState
from tests.firmware.simulated import Bench

Drawn = tuple[float, ...]


class Writer:
    """Writes G-code as a slicer does: with the words that the modes want."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.owners: list[int | None] = []  # the object that each line draws
        self.owner: int | None = None
        self.relative = False
        self.relative_e = False
        self.at = {"X": 0.0, "Y": 0.0, "Z": 0.0, "E": 0.0}
        self.retracted = [0.0, 0.0]
        self.tool = 0
        for line in ("G28", "G90", "M82", "G92 E0", "G1 F3000"):
            self.say(line)

    def say(self, line: str) -> None:
        self.lines.append(line)
        self.owners.append(self.owner)

    def move(self, feed: int = 0, **to: float) -> None:
        """X, Y and Z are places, E is a way."""
        words = []
        for axis, value in to.items():
            relative = self.relative or (axis == "E" and self.relative_e)
            place = round(self.at[axis] + value, 4) if axis == "E" else value
            words.append(f"{axis}{(place - self.at[axis] if relative else place):.4f}")
            self.at[axis] = place
        self.say(" ".join(["G1", *words, *[f"F{feed}"] * bool(feed)]))

    def write(self, token: tuple[str, int, int]) -> None:
        word, a, b = token
        match word:
            case "draw":
                self.unretract()
                self.move(X=float(a), Y=float(b), E=(a + b) / 50 + 0.1)
            case "travel":
                self.move(a * 60 + 600, X=float(a), Y=float(b))
            case "layer":
                self.move(600, Z=round(self.at["Z"] + 0.2 * (1 if a > 20 else -1), 2))
            case "retract" if not self.retracted[self.tool]:
                self.retracted[self.tool] = 0.8 if a > 30 else 1.5
                self.move(2400, E=-self.retracted[self.tool])
            case "unretract":
                self.unretract()
            case "number":
                self.say("G92 E0")
                self.at["E"] = 0.0
            case "fan":
                self.say(f"M106 S{a}")
            case "tool":
                self.tool = a % 2
                self.say(f"T{self.tool}")
            case "mode":
                self.relative, self.relative_e = (a % 3 == 2, a % 3 != 0)
                for line in ("G91",) if self.relative else ("G90", "M83" if self.relative_e else "M82"):
                    self.say(line)
                if not self.relative_e:
                    self.say(f"G92 E{self.at['E']:.4f}")
            case _:
                pass

    def unretract(self) -> None:
        if self.retracted[self.tool]:
            self.move(1800, E=self.retracted[self.tool])
            self.retracted[self.tool] = 0.0


WORDS = ["draw"] * 5 + ["travel", "travel", "layer", "retract", "unretract", "number", "fan", "tool", "mode"]
TOKENS = st.tuples(st.sampled_from(WORDS), st.integers(0, 60), st.integers(0, 60))
SECTIONS = st.lists(st.tuples(st.sampled_from([None, 0, 1, 2]), st.lists(TOKENS, max_size=8)), min_size=1, max_size=10)


def written(sections: Sequence[tuple[int | None, Sequence[tuple[str, int, int]]]]) -> Writer:
    writer = Writer()
    for owner, tokens in sections:
        writer.owner = owner
        for token in tokens:
            writer.write(token)
    return writer


def drawn(commands: Sequence[str]) -> list[tuple[int, Drawn]]:
    """What `commands` draw, each with the number of its command: from, to, how much, and how the machine is set."""
    bench = Bench(Machine(tools=2, min_extrude_c=0.0))
    board = bench.simulator.board
    bench.say("M302 S0")
    pulled = [0.0, 0.0]
    found = []
    for number, command in enumerate(commands):
        planner = board.planner
        before = (planner.x, planner.y, planner.z, planner.e)
        bench.say(command)
        planner = board.planner
        x, y, z, e = before
        if not command.startswith("G1 "):
            continue
        way = planner.e - e
        if way > 0 and (planner.x, planner.y) != (x, y):
            setting = (board.feedrate, board.tool, board.fan, pulled[board.tool])
            found.append((number, (x, y, z, planner.x, planner.y, planner.z, way, *setting)))
        pulled[board.tool] = max(0.0, pulled[board.tool] - way)
    return found


@settings(max_examples=60, deadline=None)
@given(SECTIONS, st.data())
def test_what_is_drawn_is_what_lies_outside_of_the_objects_left_out(
    sections: list[tuple[int | None, list[tuple[str, int, int]]]], data: st.DataObject
) -> None:
    writer = written(sections)
    lines = writer.lines
    sizes = [len(line) + 1 for line in lines]
    ends = list(itertools.accumulate(sizes))
    begins = [0, *ends[:-1]]
    spans = {
        owner: tuple((begins[n], ends[n]) for n, of in enumerate(writer.owners) if of == owner) for owner in (0, 1, 2)
    }
    objects = {owner: NamedObject(f"object {owner}", 0, 0, 1, 1, spans[owner]) for owner in spans}
    first = data.draw(st.integers(5, len(lines)))  # where the run is when the first is left out
    second = data.draw(st.integers(first, len(lines)))
    modal = ModalState()
    modal.advance(line.encode() for line in lines[:first])
    skipping = Skipping(modal, ends[first - 1])
    sent = [line.encode() for line in lines[:first]]
    accounted = ends[first - 1]
    for owner, until in ((0, second), (1, len(lines))):
        skipping.exclude([objects[owner]])
        at = first if owner == 0 else second
        while at < until:
            step = data.draw(st.integers(1, 7))
            part = slice(at, min(until, at + step))
            kept, kept_ends = skipping.kept([line.encode() for line in lines[part]], ends[part])
            assert len(kept) == len(kept_ends)
            for end in kept_ends:
                assert accounted <= end <= ends[part][-1]
                accounted = end
            sent += kept
            at = part.stop
    left_out = {n for n, of in enumerate(writer.owners) if (of == 0 and n >= first) or (of == 1 and n >= second)}
    expected = [what for number, what in drawn(lines) if number not in left_out]
    found = [what for _, what in drawn([line.decode() for line in sent])]
    assert len(found) == len(expected), sent
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=1e-4), sent


def test_nothing_is_left_out_of_a_file_without_the_objects() -> None:
    skipping = Skipping(ModalState(), 0)
    skipping.exclude([NamedObject("far", 0, 0, 1, 1, ((1000, 2000),))])
    lines = [b"G28", b"G1 X1 E1", b"M117 x"]
    assert skipping.kept(lines, [4, 13, 20]) == (lines, [4, 13, 20])


def test_a_stretch_is_begun_anew_by_who_goes_on_within_it() -> None:
    skipping = Skipping(ModalState(), 0)
    skipping.exclude([NamedObject("it", 0, 0, 1, 1, ((4, 30),))])
    kept = skipping.kept([b"G28", b"G1 X5 E1", b"M106 S9", b"G1 X9 E2", b"G1 Y1"], [4, 13, 21, 30, 36])
    assert kept == ([b"G28", b"M106 S9", b"G1 X9 F3000", b"G92 E2", b"G1 Y1"], [4, 4, 4, 30, 36])


def test_z_first_when_it_rises_and_last_when_it_falls() -> None:
    for z, ways in ((5, [b"G1 Z5 F3000", b"G1 X9 F3000"]), (0.5, [b"G1 X9 F3000", b"G1 Z0.5 F3000"])):
        modal = ModalState(z=1.0)
        skipping = Skipping(modal, 0)
        skipping.exclude([NamedObject("it", 0, 0, 1, 1, ((0, 10),))])
        kept, _ = skipping.kept([f"G1 X9 Z{z} E1".encode(), b"G1 Y1"], [10, 16])
        assert kept[:2] == ways
