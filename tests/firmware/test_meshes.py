"""Meshes and endstops as firmware prints them."""

import pytest

from polyhost.core.printer import BedMesh
from polyhost.firmware.marlin.endstops import endstops_in, filament_in
from polyhost.firmware.marlin.meshes import MeshReader
from polyhost.firmware.marlin.replies import Said, parse_reply

BED = (0.0, 0.0, 250.0, 210.0)

BILINEAR = """
Bilinear Leveling Grid:
      0      1      2
 0 +0.012 -0.030 +0.100
 1 +0.000 ====== -0.200
echo:Bed Leveling ON
"""
UNIFIED = """
Bed Topography Report:

    ( 10,190)                          (230,190)
        0       1       2
 1 | +0.300  -0.010  +0.020
   |
 0 | -0.100 [+0.050]   .
    ( 10, 20)                          (230, 20)
        0       1       2
"""
PRUSA = """
Num X,Y: 3,3
Z search height: 5.00
Measured points:
  0.31000  0.32000  0.33000
  0.21000  0.22000  0.23000
 -0.11000  0.12000  0.13000
"""


@pytest.mark.parametrize(
    ("text", "mesh"),
    [
        (BILINEAR, BedMesh(*BED, ((0.012, -0.03, 0.1), (0.0, 0.0, -0.2)))),
        (UNIFIED, BedMesh(10, 20, 230, 190, ((-0.1, 0.05, 0.0), (0.3, -0.01, 0.02)))),
        (PRUSA, BedMesh(*BED, ((-0.11, 0.12, 0.13), (0.21, 0.22, 0.23), (0.31, 0.32, 0.33)))),
    ],
    ids=["bilinear", "unified", "prusa"],
)
def test_a_mesh_is_read_from_the_front(text: str, mesh: BedMesh) -> None:
    reader = MeshReader()
    for line in text.splitlines():
        for reply in parse_reply(line):
            assert isinstance(reply, Said), line
            reader.hear(reply.text, BED)
    assert reader.mesh is not None
    assert reader.mesh == mesh


def test_what_is_no_row_ends_a_mesh_and_leaves_the_last_one() -> None:
    reader = MeshReader()
    for line in BILINEAR.splitlines():
        reader.hear(line, BED)
    before = reader.mesh
    assert not reader.hear(" 0 +0.5 +0.6 +0.7", BED)
    reader.hear("Bilinear Leveling Grid:", BED)
    assert not reader.hear("busy with something else", BED)
    assert reader.mesh is before


def test_endstops() -> None:
    said = ["Reporting endstop status", "x_min: TRIGGERED", "y_max: open", "z_min: open", "z_max: TRIGGERED"]
    said += ["z_probe: open", "filament: TRIGGERED", "ok"]
    assert endstops_in(said) == {"x": True, "y": False, "z": True, "z_probe": False}
    assert endstops_in([]) == {}
    assert filament_in("filament: TRIGGERED") == ("filament", True)
    assert filament_in("filament 2: open") == ("filament 2", False)
    assert filament_in("x_min: open") is None
