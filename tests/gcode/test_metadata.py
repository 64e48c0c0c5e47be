"""What each slicer says of its file, field by field; the keys are those that Moonraker reads."""

import gzip
import io
import json
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyhost.core.file import Metadata
from polyhost.gcode.comments import duration_of, number_of, texts_of
from polyhost.gcode.metadata import PART, metadata_of

SAMPLES = Path(__file__).parent / "samples"


def metadata_in(data: bytes) -> Metadata:
    return metadata_of(io.BytesIO(data), len(data))[0]


def fields_of(data: bytes) -> dict[str, Any]:
    """All that is said, but where commands are and the pictures."""
    said: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(metadata_in(data)))
    for name in ("gcode_start_byte", "gcode_end_byte", "thumbnails"):
        said.pop(name, None)
    return said


EXPECTED: dict[str, dict[str, Any]] = {
    "superslicer": {
        "slicer": "SuperSlicer",
        "slicer_version": "2.5.59",
        "object_height": 12.4,
        "estimated_time": 93784.0,
        "nozzle_diameter": 0.4,
        "layer_height": 0.2,
        "first_layer_height": 0.25,
        "first_layer_extr_temp": 205.0,
        "first_layer_bed_temp": 65.0,
        "filament_name": '["Fast PLA", "Tough PETG"]',
        "filament_type": ["PLA", "PETG"],
        "filament_colors": ["#FF0000", "#00FF0080"],
        "extruder_colors": ["#FF8000", "#DB5182"],
        "filament_temps": [200, 235],
        "filament_change_count": 4,
        "referenced_tools": [0, 1],
        "mmu_print": True,
        "filament_total": 1250.75,
        "filament_weight_total": 3.73,
        "filament_weights": [2.98, 0.75],
        "printer_vendor": "Prusa Research",
        "printer_model": "MK3S",
        "printer_variant": "0.4",
        "profile_version": "1.4.5",
    },
    "orcaslicer": {
        "slicer": "OrcaSlicer",
        "slicer_version": "2.1.1",
        "layer_count": 123,
        "object_height": 0.2,
        "estimated_time": 1506.0,
        "nozzle_diameter": 0.4,
        "layer_height": 0.2,
        "first_layer_height": 0.25,
        "first_layer_extr_temp": 255.0,
        "first_layer_bed_temp": 90.0,
        "chamber_temp": 45.0,
        "filament_name": "Generic ABS",
        "filament_type": ["ABS"],
        "filament_colors": ["#00AE42"],
        "filament_temps": [250],
        "filament_change_count": 2,
        "filament_total": 2063.94,
        "filament_weight_total": 6.16,
        "filament_weights": [6.16],
        "printer_model": "Voron 2.4",
    },
    "bambustudio": {
        "slicer": "BambuStudio",
        "slicer_version": "01.09.05.51",
        "layer_count": 80,
        "object_height": 16.0,
        "estimated_time": 5230.0,
        "nozzle_diameter": 0.4,
        "layer_height": 0.16,
        "first_layer_height": 0.2,
        "first_layer_extr_temp": 222.0,
        "first_layer_bed_temp": 55.0,
        "chamber_temp": 40.0,
        "filament_name": "Bambu PLA Basic @BBL X1C",
        "filament_type": ["PLA", "PLA"],
        "filament_colors": ["#FFFFFF", "#000000"],
        "filament_temps": [220, 220],
        "filament_total": 1334.5,
        "filament_weight_total": 4.01,
        "filament_weights": [3.71, 0.3],
        "printer_model": "Bambu Lab X1 Carbon",
    },
    "qidistudio": {"slicer": "QIDIStudio", "slicer_version": "01.10.00.60", "layer_count": 5, "layer_height": 0.28},
    "prusaslicer_unsigned": {"slicer": "PrusaSlicer", "slicer_version": "2.6.0", "nozzle_diameter": 0.25},
    "slic3r_pe": {
        "slicer": "Slic3r PE",
        "slicer_version": "1.41.2+linux64",
        "object_height": 10.2,
        "estimated_time": 601.0,
        "nozzle_diameter": 0.4,
        "layer_height": 0.15,
        "first_layer_height": 0.2,
        "first_layer_extr_temp": 215.0,
        "first_layer_bed_temp": 50.0,
        "filament_total": 1234.5,
    },
    "slic3r": {
        "slicer": "Slic3r",
        "slicer_version": "1.3.0",
        "object_height": 5.15,
        "nozzle_diameter": 0.35,
        "layer_height": 0.3,
        "first_layer_height": 0.35,
        "first_layer_extr_temp": 200.0,
        "first_layer_bed_temp": 60.0,
        "filament_total": 1500.0,
        "filament_weight_total": 4.47,
    },
    "cura": {
        "slicer": "Cura",
        "slicer_version": "5.6.0",
        "layer_count": 131,
        "object_height": 19.92,
        "estimated_time": 3600.5,
        "nozzle_diameter": 0.4,
        "layer_height": 0.15,
        "first_layer_height": 0.27,
        "first_layer_extr_temp": 200.5,
        "first_layer_bed_temp": 60.0,
        "chamber_temp": 35.0,
        "filament_name": "Generic PLA",
        "filament_type": ["PLA", "PETG"],
        "filament_total": 1750.0,
        "filament_weight_total": 5.22,
        "filament_weights": [4.47, 0.75],
    },
    "simplify3d_4": {
        "slicer": "Simplify3D",
        "slicer_version": "4.1.2",
        "object_height": 0.38,
        "estimated_time": 7860.0,
        "nozzle_diameter": 0.4,
        "layer_height": 0.2,
        "first_layer_height": 0.18,
        "first_layer_extr_temp": 205.0,
        "first_layer_bed_temp": 65.0,
        "filament_name": "PLA",
        "filament_type": ["0"],
        "filament_total": 7023.4,
        "filament_weight_total": 21.12,
    },
    "simplify3d_5": {
        "slicer": "Simplify3D",
        "slicer_version": "5.1.2",
        "object_height": 4.3,
        "estimated_time": 3907.0,
        "nozzle_diameter": 0.6,
        "layer_height": 0.25,
        "first_layer_height": 0.3,
        "first_layer_extr_temp": 215.0,
        "first_layer_bed_temp": 62.0,
        "filament_name": "PETG",
        "filament_total": 1500.0,
        "filament_weight_total": 4.4,
    },
    "kisslicer": {
        "slicer": "KISSlicer",
        "slicer_version": "1.6.3",
        "object_height": 10.3,
        "estimated_time": 750.0,
        "layer_height": 0.25,
        "first_layer_height": 0.3,
        "first_layer_extr_temp": 210.0,
        "first_layer_bed_temp": 58.0,
        "chamber_temp": 30.0,
        "filament_total": 1500.75,
    },
    "ideamaker": {
        "slicer": "IdeaMaker",
        "slicer_version": "4.3.2.6470",
        "object_height": 25.5,
        "estimated_time": 1800.0,
        "nozzle_diameter": 0.4,
        "layer_height": 0.2,
        "first_layer_height": 0.3,
        "first_layer_extr_temp": 205.0,
        "first_layer_bed_temp": 60.0,
        "filament_name": '["White PLA", "Blue PETG"]',
        "filament_type": ["PLA", "PETG"],
        "filament_total": 1500.0,
        "filament_weight_total": math.pi / 4 * 1.75**2 * (1000 * 1240 + 500 * 1270) / 1e6,
    },
    "icesl": {
        "slicer": "IceSL",
        "slicer_version": "2.5.3",
        "layer_count": 77,
        "object_height": 15.4,
        "estimated_time": 1234.0,
        "nozzle_diameter": 0.4,
        "layer_height": 0.2,
        "first_layer_height": 0.3,
        "first_layer_extr_temp": 195.0,
        "first_layer_bed_temp": 55.0,
        "chamber_temp": 25.0,
        "filament_name": "white",
        "filament_type": ["PLA"],
        "filament_total": 1850.5,
        "filament_weight_total": 5.5,
    },
    "kirimoto": {
        "slicer": "Kiri:Moto",
        "slicer_version": "4.0.1",
        "layer_count": 2,
        "object_height": 0.55,
        "estimated_time": 444.0,
        "layer_height": 0.25,
        "first_layer_height": 0.3,
        "first_layer_extr_temp": 205.0,
        "first_layer_bed_temp": 61.0,
        "filament_total": 777.7,
    },
    "unknown": {
        "object_height": 2.4,
        "first_layer_height": 0.4,
        "first_layer_extr_temp": 190.0,
        "first_layer_bed_temp": 50.0,
        "chamber_temp": 30.0,
    },
}


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_what_a_slicer_says(name: str, line_end: bytes) -> None:
    said = fields_of((SAMPLES / f"{name}.gcode").read_bytes().replace(b"\n", line_end))
    expected = EXPECTED[name]
    assert said.keys() == expected.keys()
    for field, value in expected.items():
        assert said[field] == (pytest.approx(value) if isinstance(value, float) else value), field


@pytest.mark.parametrize(
    ("name", "tail_begins"),
    [
        ("superslicer", ";BEFORE_LAYER_CHANGE"),
        ("orcaslicer", "G1 Z.2"),
        ("bambustudio", "; CHANGE_LAYER"),
        ("slic3r_pe", "G1 Z10.2"),
        ("cura", ";LAYER:0"),
        ("simplify3d_4", "G1 Z0.380"),
        ("kisslicer", "; END_LAYER_OBJECT z=10"),
        ("ideamaker", ";Print Time"),
        ("icesl", "G28"),
        ("unknown", "G1 Z2.4"),
    ],
)
def test_head_and_tail_are_enough(name: str, tail_begins: str) -> None:
    """The same file with megabytes of moves in its middle says the same."""
    head, mark, tail = (SAMPLES / f"{name}.gcode").read_bytes().partition(tail_begins.encode())
    assert mark
    middle = b"G1 X100.123 Y50.456 E1.23456\n" * (2 * PART // 29 + 1000)
    said = fields_of(head + mark + tail)
    assert fields_of(head + middle + mark + tail) == said


def test_a_real_file_of_prusaslicer() -> None:
    data = gzip.decompress((SAMPLES / "prusaslicer_small.gcode.gz").read_bytes())
    said = metadata_in(data)
    assert (said.slicer, said.slicer_version) == ("PrusaSlicer", "2.5.0")
    assert (said.filament_total, said.filament_weight_total, said.filament_weights) == (1409.28, 4.2, (4.2,))
    assert (said.estimated_time, said.layer_height, said.first_layer_height) == (1156.0, 0.2, 0.35)
    assert (said.first_layer_extr_temp, said.first_layer_bed_temp, said.object_height) == (215.0, 60.0, 19.95)
    assert (said.filament_name, said.printer_model, said.mmu_print) == (None, None, False)
    assert said.gcode_start_byte == data.index(b"M107")
    assert said.gcode_end_byte == data.index(b"M84     ; disable motors") + len(b"M84     ; disable motors")


def test_a_real_file_of_curas_engine() -> None:
    """Its header has numbers like 2.14748e+06 where the front end would have put real ones: those are left out."""
    assert fields_of(gzip.decompress((SAMPLES / "cura_small.gcode.gz").read_bytes())) == {
        "slicer": "Cura",
        "slicer_version": "4.13.0",
        "layer_count": 100,
        "estimated_time": 6666.0,
        "layer_height": 0.2,
        "first_layer_extr_temp": 215.0,
        "first_layer_bed_temp": 60.0,
        "filament_total": 0.0,
    }


@pytest.mark.parametrize(
    ("data", "start", "end"),
    [
        (b"", None, None),
        (b"; nothing\n", None, None),
        (b"G28", 0, 3),
        (b";c\nG28 ; home\nM84\n; x\n", 3, 17),
        (b"GARBAGE\nMORE\n  G28\n", None, None),
        (b"G28\n" + b";" * (3 * PART) + b"\nM84\n;\n", 0, 3 * PART + 8),
    ],
)
def test_where_the_commands_are(data: bytes, start: int | None, end: int | None) -> None:
    said = metadata_in(data)
    assert (said.gcode_start_byte, said.gcode_end_byte) == (start, end)


@given(st.binary(max_size=2000))
def test_any_bytes_have_metadata(data: bytes) -> None:
    metadata_in(data)


_KEYS = sorted({line.split("=")[0] for path in SAMPLES.glob("*.gcode") for line in path.read_text().splitlines()})


@given(st.lists(st.tuples(st.sampled_from(_KEYS), st.text(st.characters(codec="utf-8"), max_size=12))))
def test_any_values_have_metadata(lines: list[tuple[str, str]]) -> None:
    said = metadata_in("\n".join(f"{key}{value}" for key, value in lines).encode())
    assert msgspec.json.decode(msgspec.json.encode(said), type=Metadata) == said


def test_values_are_bounded() -> None:
    said = metadata_in(b"; generated by PrusaSlicer 1 on 2020-01-01 at 00:00:00\n; printer_model = " + b"x" * 5000)
    assert said.printer_model is not None
    assert len(said.printer_model) == 1024


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.4", 0.4),
        (" 12,13", 12.0),
        ("5.", 5.0),
        (".5mm", 0.5),
        ("-1", None),
        ("2.1e+06", None),
        ("", None),
        ("x", None),
        ("1.2.3", None),
        ("9" * 30, None),
    ],
)
def test_numbers_are_unsigned_decimals(text: str, value: float | None) -> None:
    assert number_of(text) == value


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *[("1d 2h 3m 4s", 93784), ("13m 46s", 826), ("1 hour 5 minutes 7 seconds", 3907), ("2 hours", 7200)],
        *[("", None), ("soon", None), (None, None)],
    ],
)
def test_durations(text: str | None, seconds: float | None) -> None:
    assert duration_of(text) == seconds


def test_lists_of_texts() -> None:
    assert texts_of('"a, b";c,;"d"') == ("a, b", "c", "d")
    assert json.loads(metadata_in((SAMPLES / "superslicer.gcode").read_bytes()).filament_name or "") == [
        "Fast PLA",
        "Tough PETG",
    ]
