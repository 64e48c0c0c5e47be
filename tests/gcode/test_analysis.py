"""What reading a whole file shows: boxes, filament, layers, objects; the same however it is cut; nothing is fatal."""

import gzip
import io
import itertools
import random
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyhost.core.file import Analysis, Box
from polyhost.gcode.analysis import analyse
from polyhost.gcode.chunk import read_chunk
from polyhost.gcode.limits import Limits
from polyhost.gcode.modal import ModalState
from polyhost.gcode.motion import Motion

SAMPLES = Path(__file__).parent / "samples"


def analysed(text: str | bytes, **how: Any) -> Analysis:
    data = text.encode() if isinstance(text, str) else text
    return analyse(io.BytesIO(data), len(data), Limits(), **how)


def real(name: str) -> bytes:
    return gzip.decompress((SAMPLES / f"{name}.gcode.gz").read_bytes())


@pytest.mark.parametrize(
    ("name", "lines", "layers", "filament_mm", "filament_cm3", "top_mm"),
    [
        ("prusaslicer_small", 7077, 99, 1409.28, 3.39, 19.95),
        ("prusaslicer_gui_small_thumbnails", 5341, 66, 1491.16, 3.59, 19.85),
        ("cura_small", 8503, 100, 578.54, 1.39, 20.1),
    ],
)
def test_totals_of_real_files(
    name: str, lines: int, layers: int, filament_mm: float, filament_cm3: float, top_mm: float
) -> None:
    data = real(name)
    found = analysed(data)
    assert (found.lines, len(found.layers.offsets)) == (lines, layers)
    assert found.filament[0].length == pytest.approx(filament_mm, rel=0.001)
    assert found.filament[0].volume == pytest.approx(filament_cm3, rel=0.005)
    assert found.printed is not None
    assert found.printed.max_z == top_mm
    assert found.complete
    assert found.notes == ()
    assert len(found.layers.heights) == len(found.layers.times) == layers
    assert list(found.layers.times) == sorted(found.layers.times)
    assert all(data[offset:].startswith((b";LAYER_CHANGE", b";LAYER:")) for offset in found.layers.offsets)
    assert found.layers.total_s == found.duration_s > found.layers.times[-1]
    assert found.waits_s > 100  # to heat hotend and bed


def test_where_things_are_in_a_real_file() -> None:
    found = analysed(real("prusaslicer_small"))
    assert found.printed == Box(93.375, 93.375, 0.35, 126.625, 126.625, 19.95)
    assert found.layers.heights[:3] == (0.35, 0.55, 0.75)
    assert found.layers.heights[-1] == 19.95


SCRAPS = [
    *["G1 X10 Y10 E1 F1200", "G1X20.5Y-3.25", "g1 x5", "N7 G1 X12*4", "  G1 Y33 ; moved", "G0 Z1.2", "G1 E-2 F2400"],
    *["G92 E0", "G92 X3 Z1", "G92", "G28", "G28 X", "G91", "G90", "M83", "M82", "G20", "G21", "G10", "G11", "T0", "T1"],
    *["G2 X20 Y20 I5 J5 E1", "G3 X1 Y1 R20", "G3 I4", "G18", "G17", "M220 S50", "M221 S90", "M204 S500", "M205 X5"],
    *["M109 S200", "G4 S2", ";LAYER:1", ";LAYER_CHANGE", "; printing object a", "; stop printing object a", ";MESH:b"],
    *["M486 S1", "M73 P1", "G1 X1.2.3", "G1 X", "", ";", "G1 X1234567890.123 Y1", "G1 X123456.789123 Y0.000001234"],
    *["\0", "(note)", "M117 G1 X5", "EXCLUDE_OBJECT_START NAME=c"],
]
FILES = st.tuples(
    st.lists(st.sampled_from(SCRAPS), max_size=40), st.sampled_from(["\n", "\r\n", "\r"]), st.sampled_from(["", "\n"])
).map(lambda parts: (parts[1].join(parts[0]) + parts[2]).encode())


def assert_alike(one: Analysis, other: Analysis) -> None:
    for path, (a, b) in _pairs("", msgspec.to_builtins(one), msgspec.to_builtins(other)):
        assert a == (pytest.approx(b, abs=1e-6) if isinstance(b, float) else b), path


def _pairs(path: str, one: Any, other: Any) -> Any:
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            yield from _pairs(f"{path}.{key}", one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), path
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            yield from _pairs(f"{path}[{number}]", a, b)
    else:
        yield path, (one, other)


@given(FILES, st.sampled_from([1, 2, 3, 7, 29, 64, 300]))
def test_how_a_file_is_cut_never_changes_what_is_found(data: bytes, size: int) -> None:
    assert_alike(analysed(data, chunk_bytes=size), analysed(data))


@pytest.mark.parametrize("size", [997, 4096, 1 << 16])
@pytest.mark.parametrize("name", ["prusaslicer_small", "cura_small"])
def test_how_a_real_file_is_cut_changes_nothing_either(name: str, size: int) -> None:
    assert_alike(analysed(real(name), chunk_bytes=size), analysed(real(name)))


@given(st.binary(max_size=3000), st.sampled_from([5, 100, 1 << 19]))
def test_any_bytes_have_an_analysis(data: bytes, size: int) -> None:
    analysed(data, chunk_bytes=size)


@given(st.lists(st.text(st.sampled_from("GMTXYZEFSPIJR0123456789.-+ ;*()N\t"), max_size=30)))
def test_any_lines_have_an_analysis(lines: list[str]) -> None:
    found = analysed("\n".join(lines))
    assert msgspec.json.decode(msgspec.json.encode(found), type=Analysis) == found


MODAL = [scrap for scrap in SCRAPS if scrap[:2] not in ("M1", "; ", ";L", ";M", "EX") and "1.2.3" not in scrap]


@given(st.lists(st.sampled_from(MODAL), max_size=30))
def test_the_machine_ends_where_the_engine_says_it_does(lines: list[str]) -> None:
    lines = ["G28", *lines]
    state = ModalState()
    state.advance(line.partition(";")[0].strip().encode() for line in lines)
    motion = Motion(Limits())
    motion.take(read_chunk("\n".join(lines).encode() + b"\n", 0))
    assert motion.position == pytest.approx([state.x, state.y, state.z, state.e])
    assert motion.shift == pytest.approx([state.shift_x, state.shift_y, state.shift_z])


@given(
    st.lists(
        st.one_of(
            st.integers(0, 10**6).map(str),
            st.decimals(0, 99999, places=5).map(str),
            st.decimals(0, 9, places=9).map(lambda d: f"{d:f}"),
            st.decimals(0, 999999, places=8).map(lambda d: f"{d:f}"),
            st.integers(0, 10**6).map(lambda n: f".{n}"),
            st.integers(0, 10**6).map(lambda n: f"{n}."),
        ),
        min_size=1,
        max_size=20,
    ),
    st.sampled_from(["", "-", "+"]),
    st.sampled_from([" ", ""]),
)
def test_numbers_are_read_as_python_reads_them(numbers: list[str], sign: str, space: str) -> None:
    data = "\n".join(f"G1{space}X{sign}{number}{space}Y{number}" for number in numbers).encode() + b"\n"
    chunk = read_chunk(data, 0)
    assert chunk.column("X")[1].tolist() == [float(sign + number) for number in numbers]
    assert chunk.column("Y")[1].tolist() == [float(number) for number in numbers]


@pytest.mark.parametrize(
    ("commands", "printed", "travelled"),
    [
        ("G1 X10 Y20 Z1", None, (10, 20, 1, 10, 20, 1)),
        ("G1 X10 Y20 Z1\nG1 X30 E1", (10, 20, 1, 30, 20, 1), (10, 20, 1, 30, 20, 1)),
        ("G1 X10 Y20 Z1\nG1 X30 E1\nG1 X90 E0.5", (10, 20, 1, 30, 20, 1), (10, 20, 1, 90, 20, 1)),
        ("M83\nG91\nG1 X10\nG1 X5 E1", (10, 0, 0, 15, 0, 0), (10, 0, 0, 15, 0, 0)),
        ("G1 X10\nG92 X0\nG1 X5 E1", (10, 0, 0, 15, 0, 0), (10, 0, 0, 15, 0, 0)),
        ("G1 X10\nG92 X0\nG28\nG1 X5 E1", (0, 0, 0, 5, 0, 0), (5, 0, 0, 10, 0, 0)),
        ("G20\nG1 X1\nG1 Y1 E1", (25.4, 0, 0, 25.4, 25.4, 0), (25.4, 0, 0, 25.4, 25.4, 0)),
        ("G1 X20 Y10\nG3 I-10 J0 E1", (0, 0, 0, 20, 20, 0), (0, 0, 0, 20, 20, 0)),
        ("G1 X0 Y10\nG2 X10 Y0 R10 E1", (0, 0, 0, 10, 10, 0), (0, 0, 0, 10, 10, 0)),
        ("G1 X10 Z0\nG18\nG2 X10 Z0 I-10 K0 E1", (-10, 0, -10, 10, 0, 10), (-10, 0, -10, 10, 0, 10)),
        ("G1 Y10\nG19\nG3 J-10 K0 E1", (0, -10, -10, 0, 10, 10), (0, -10, -10, 0, 10, 10)),
        ("G1 E5\nG1 Z5 E4", None, (0, 0, 5, 0, 0, 5)),
    ],
)
def test_boxes(commands: str, printed: tuple[float, ...] | None, travelled: tuple[float, ...]) -> None:
    found = analysed(commands)
    assert found.travelled is not None
    # Arcs are chords of a millimetre, so their tops may be missed by a little.
    assert msgspec.structs.astuple(found.travelled) == pytest.approx(travelled, abs=0.02)
    if printed is None:
        assert found.printed is None
    else:
        assert found.printed is not None
        assert msgspec.structs.astuple(found.printed) == pytest.approx(printed, abs=0.02)


@pytest.mark.parametrize(
    ("commands", "used"),
    [
        ("G1 X1 E5\nG1 E3\nG1 X2 E6", {0: 6.0}),
        ("G1 X1 E5\nG1 E3", {0: 5.0}),
        ("M83\nG1 X1 E5\nG1 E-2\nG1 E2\nG1 X2 E1", {0: 6.0}),
        ("G1 X1 E5\nG92 E0\nG1 X2 E5", {0: 10.0}),
        ("M83\nG1 X1 E5\nT1\nG1 X2 E3\nT0\nG1 X3 E1", {0: 6.0, 1: 3.0}),
        ("M221 S200\nG1 X1 E5", {0: 10.0}),
        ("G20\nG1 X1 E1", {0: 25.4}),
        ("M200 D1.75\nG1 X1 E10", {0: 10 / 2.405281875}),
        ("G10\nG1 X5\nG11\nG1 X9 E1", {0: 1.0}),
        ("G1 E-5\nG1 X1", {}),
        ("G1 X1 Y1", {}),
    ],
)
def test_filament(commands: str, used: dict[int, float]) -> None:
    found = analysed(commands)
    assert {tool: use.length for tool, use in found.filament.items()} == pytest.approx(used)


def test_filament_has_the_diameter_that_the_settings_name() -> None:
    moves = "M83\nG1 X1 E100\nT1\nG1 X2 E100\n"
    assert analysed(moves).filament[1].volume == pytest.approx(0.2405, rel=1e-3)
    assert analysed(moves, filament_diameter=2.85).filament[1].volume == pytest.approx(0.6379, rel=1e-3)
    named = analysed(moves + "; filament_diameter = 1.75,2.85\n")
    assert [round(use.volume, 4) for use in named.filament.values()] == [0.2405, 0.6379]


@pytest.mark.parametrize(
    "mark",
    [
        *[
            ";LAYER_CHANGE",
            "; LAYER_CHANGE",
            "; CHANGE_LAYER",
            ";LAYER:0",
            ";LAYER:-2",
            "; layer 1, Z = 0.2",
            ";layer 5",
        ],
        *["; BEGIN_LAYER_OBJECT z=0.2", ";; --- layer 0 (0.300 @ 0.300) ---"],
    ],
)
def test_layers_begin_at_the_slicers_comments(mark: str) -> None:
    purge = "G28\nG1 Z5 F600\nG1 X50 E9\n"
    layers = [f"{mark}\nG1 Z{z}\nG1 X9\nG1 X1 E{9 + n}\nG1 Z9\n" for n, z in enumerate((0.2, 0.4, 0.6), 1)]
    text = purge + "".join(layers)
    found = analysed(text).layers
    assert found.offsets == tuple(len(purge) + n * len(layers[0]) for n in range(3))
    assert found.heights == (0.2, 0.4, 0.6)
    assert found.times[0] > 0


def test_only_the_first_kind_of_layer_comment_counts() -> None:
    text = "".join(f";LAYER_CHANGE\n;LAYER:{n}\nG1 Z{n}\nG1 X{n + 1} E{n + 1}\n" for n in range(5))
    assert len(analysed(text).layers.offsets) == 5


@pytest.mark.parametrize(
    "comment", ["; layer_height = 0.2", ";LAYER_COUNT:5", "; layer end", "; layer 2 = x", ";LAYERS:3"]
)
def test_what_only_looks_like_a_layer(comment: str) -> None:
    found = analysed(f"G1 Z0.2\nG1 X1 E1\n{comment}\nG1 X2 E2\n").layers
    assert found.offsets == (8,)


def test_without_comments_layers_are_told_by_height() -> None:
    lines = ["G1 Z5", "G1 Z0.2", "G1 X1 E1", "G1 Z0.6", "G1 X5", "G1 Z0.2", "G1 X6 E2", "G1 Z0.4", "G1 X1 E3", "G1 Z9"]
    found = analysed("\n".join(lines)).layers
    offsets = [0, *itertools.accumulate(len(line) + 1 for line in lines)]
    assert found.offsets == (offsets[2], offsets[8])
    assert found.heights == (0.2, 0.4)


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        ("; printing object {} id:0 copy 0", "; stop printing object {} id:0 copy 0"),
        ("EXCLUDE_OBJECT_START NAME={}", "EXCLUDE_OBJECT_END NAME={}"),
        (";MESH:{}", ";MESH:NONMESH"),
        (";PRINTING: {}", ";PRINTING: NON-OBJECT"),
    ],
)
def test_named_objects(begin: str, end: str) -> None:
    def part(name: str, x: int, e: int) -> str:
        return f"{begin.format(name)}\nG1 X{x} Y0\nG1 X{x + 9} Y{e} E{e}\n{end.format(name)}\n"

    between = "G1 X500 E99\nG92 E0\n"
    text = "; x\n" + part("a", 10, 1) + between + part("b", 50, 1) + "G92 E0\n" + part("a", 10, 5)
    data = text.encode()
    a, b = analysed(data).objects
    assert a.name.split()[0] == "a"
    assert (a.min_x, a.min_y, a.max_x, a.max_y) == (10, 0, 19, 5)
    assert (b.min_x, b.min_y, b.max_x, b.max_y) == (50, 0, 59, 1)
    assert len(a.ranges) == 2
    assert len(b.ranges) == 1
    for start, stop in (*a.ranges, *b.ranges):
        assert data[start:].startswith(begin.split("{")[0].encode())
        assert data[stop:].startswith(end.split("{")[0].encode())


def test_objects_of_m486() -> None:
    """The last number chosen stays chosen until another one is, or none (-1)."""
    data = (
        b'M486 T2\nM486 S0 A"cup"\nG1 X5 E1\nM486 S1\nM486 ALid of it\nG1 X9 E2\nM486 S-1\nG1 X50 E3\nM486 S0\nG1 X1 E4'
    )
    cup, lid = analysed(data).objects
    assert (cup.name, lid.name) == ("cup", "Lid of it")
    assert (cup.min_x, cup.max_x, lid.min_x, lid.max_x) == (0, 50, 5, 9)
    assert cup.ranges == ((8, data.index(b"M486 S1")), (data.rindex(b"M486"), len(data)))


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("G1 X1", "profile"),
        ("M204 S500\nG1 X1", "profile"),
        ("M201 X500\nG1 X1", "file"),
        ("SET_VELOCITY_LIMIT ACCEL=3000\nG1 X1", "file"),
        ("G1 X1\n; machine_max_acceleration_x = 1000,500\n", "slicer"),
        ("G1 X1\n; machine_max_acceleration_x = 1000,500\n; machine_limits_usage = ignore\n", "profile"),
    ],
)
def test_whose_limits_they_are(text: str, source: str) -> None:
    assert analysed(text).limits_from == source


def test_waits_are_counted_apart() -> None:
    found = analysed("M140 S60\nM190 S60\nM109 S210\nM109 S200\nG28\nG1 X10 F600\nG4 S3")
    assert found.duration_s == pytest.approx(4, abs=0.1)
    assert found.waits_s == pytest.approx(39 / 0.6 + 189 / 2.5 + 20)


def test_own_progress_is_noticed() -> None:
    assert analysed("M73 P0 R10\nG1 X1").tells_progress
    assert not analysed("G1 X1").tells_progress


HOSTILE = {
    "one line": b"G1 X" + b"1" * 5_000_000,
    "nothing but NUL": bytes(5_000_000),
    "noise": random.Random(7).randbytes(2_000_000),
    "pictures without end": b"; thumbnail begin 1x1 4\n; AAAA\n; thumbnail end\n" * 20_000,
    "numbers of no machine": b"G1 X1e999 Ynan Z-inf E99999999999999999999 F1e9\n" * 5_000,
    "circles": b"G2 I9e5\nG2 I1e6\nG3 I999999 J5 P999\n" * 2_000,
    "modes": b"G91\nG1 X1\nG90\nG1 X1 E1\nM83\nT1\nM204 S9\nT0\n" * 2_000,
    "layers": b";LAYER:1\n" * 100_001,
    "objects": b"".join(b"; printing object %d\nG1 X%d E1\n" % (n, n) for n in range(3_000)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_read(name: str) -> None:
    found = analysed(HOSTILE[name])
    assert found.complete
    assert found.notes or name in ("circles", "modes", "noise")
    assert found.duration_s < 1e13


@pytest.mark.parametrize("name", ["one line", "noise", "circles"])
def test_hostile_files_are_read_in_bounded_memory(name: str) -> None:
    tracemalloc.start()
    try:
        analysed(HOSTILE[name])
        assert tracemalloc.get_traced_memory()[1] < 128 << 20
    finally:
        tracemalloc.stop()


def test_reading_stops_when_its_time_is_over() -> None:
    """What was read until then is kept, and it is said that this is not all."""
    seconds = itertools.count(0.0, 1.0)
    data = b"G1 X1 E1\nG1 X0 E2\n" * 1000
    found = analysed(data, chunk_bytes=1800, budget_s=5.5, clock=lambda: next(seconds))
    assert not found.complete
    assert found.moves == 1000
    assert any("before the end" in note for note in found.notes)
    assert analysed(data, budget_s=5.5, clock=lambda: next(seconds)).complete
