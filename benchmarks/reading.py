"""Reading G-code: full analysis, and the time estimate against the slicer's own and against the simulator."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Row, median
from benchmarks.peers import Peers
from benchmarks.samples import sample

# What PrusaSlicer 2.5.0 printed into its files, in seconds.
SLICED_S = {"prusaslicer_small": 1156, "prusaslicer_gui_small_thumbnails": 826, "prusaslicer_medium": 7161}

ANALYSE = """
import sys, time, resource, os
from polyhost.gcode.analysis import analyse
from polyhost.gcode.limits import Limits
path = sys.argv[1]
began, cpu = time.perf_counter(), time.process_time()
with open(path, "rb") as file:
    result = analyse(file, os.path.getsize(path), Limits())
print(time.perf_counter() - began, time.process_time() - cpu, result.duration_s,
      resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def rows(peers: Peers) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        medium = sample("prusaslicer_medium", Path(folder))
        twenty = Path(folder) / "twenty.gcode"
        twenty.write_bytes((medium.read_bytes() * 2)[: 20 * 2**20])
        runs = [_analyse(twenty) for _ in range(3)]
        took = median([run[0] for run in runs])
        theirs = _octoprint_s(peers, twenty)
        yield Row(
            "full analysis of 20 MB",
            "≤ 0.5 s",
            f"{took:.2f} s ({20 / median([run[1] for run in runs]):.0f} MB per CPU-second, peak {runs[0][3]:.0f} MiB)",
            f"OctoPrint {theirs:.1f} s" if theirs else "-",
            took <= 0.5,
        )
        for name, sliced_s in SLICED_S.items():
            estimate = _analyse(sample(name, Path(folder)))[2]
            off = estimate / sliced_s - 1
            yield Row(
                f"time estimate, {name}",
                "within 3 %",
                f"{estimate:.0f} s ({off:+.1%})",
                f"slicer {sliced_s} s",
                abs(off) <= 0.03,
            )


def _analyse(file: Path) -> tuple[float, float, float, float]:
    """Seconds, CPU seconds, the estimate in seconds, and the peak memory in MiB, in a process of its own."""
    out = subprocess.run([sys.executable, "-c", ANALYSE, str(file)], capture_output=True, text=True, check=True)
    seconds, cpu, estimate, peak = map(float, out.stdout.split())
    return seconds, cpu, estimate, peak


def _octoprint_s(peers: Peers, file: Path) -> float | None:
    program = peers.program()
    if program is None:
        return None
    began = time.perf_counter()
    subprocess.run([str(program), "analysis", "gcode", str(file)], capture_output=True, check=True)
    return time.perf_counter() - began
