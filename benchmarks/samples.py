"""Real slicer files, unpacked where a benchmark needs them."""

import gzip
import lzma
from pathlib import Path

HERE = Path(__file__).parent
FOLDERS = (HERE / "gcode", HERE.parent / "tests" / "gcode" / "samples")
UNPACK = {".gcode.xz": lzma.decompress, ".gcode.gz": gzip.decompress}


def sample(name: str, folder: Path) -> Path:
    """The file `name`.gcode in `folder`, from the packed samples of the tests."""
    for packed in (samples / (name + suffix) for samples in FOLDERS for suffix in UNPACK):
        if packed.exists():
            file = folder / f"{name}.gcode"
            file.write_bytes(UNPACK[f".gcode{packed.suffix}"](packed.read_bytes()))
            return file
    raise FileNotFoundError(f"no sample {name} in {' or '.join(map(str, FOLDERS))}")
