"""HTTP: state requests, file lists, uploads with metadata, cold start."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Row, Server, Skipped, load, median, polyhost, polyhost_serving, short_moves, until
from benchmarks.peers import Peers, connect

FILES = 200
MEMORY = Path("/dev/shm")


def rows(peers: Peers) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        small = short_moves(Path(folder) / "small.gcode", 100)
        large = short_moves(Path(folder) / "large.gcode", 3_100_000)
        with polyhost("--printers", "1") as ours, peers.octoprint() as peer:
            if peer is not None:
                connect(peer, "VIRTUAL")
            for server in filter(None, (ours, peer)):
                _seed(server, small)
            for path, target in (("/api/printer", 10_000), ("/api/job", 10_000), ("/api/version", 10_000)):
                yield _load_row(f"GET {path}", path, target, ours, peer)
            yield _load_row(f"list of {FILES} files", "/api/files?recursive=true", 1_000, ours, peer)
            yield from _upload_rows(large, ours, peer)
        yield _cold_start(peers)


def _seed(server: Server, file: Path) -> None:
    for n in range(FILES):
        server.upload(file, f"f{n:03}.gcode", f"seed{n % 10}")
    last = f"/api/files/local/seed{(FILES - 1) % 10}/f{FILES - 1:03}.gcode"
    if server.name == "Polyhost":
        until(lambda: "gcodeAnalysis" in server.get(last), 120, "the analysis of the seeded files")


def _load_row(what: str, path: str, target: int, ours: Server, peer: Server | None) -> Row:
    got = load(ours, path)
    other = load(peer, path, runs=1) if peer else None
    return Row(
        what,
        f"≥ {target}/s, p99 ≤ 10 ms" if target >= 10_000 else f"≥ {target}/s",
        f"{got.requests_s:.0f}/s, p50 {got.p50_ms:.1f}, p99 {got.p99_ms:.1f} ms"
        + f", {got.failed} bad" * (got.failed > 0),
        f"OctoPrint {other.requests_s:.0f}/s, p99 {other.p99_ms:.0f} ms" if other else "-",
        got.requests_s >= target and not got.failed and (target < 10_000 or got.p99_ms <= 10),
    )


def _upload_rows(file: Path, ours: Server, peer: Server | None) -> Iterator[Row]:
    """By curl, as a slicer would: onto the disk, and into memory, where syncing costs nothing."""
    megabytes = file.stat().st_size / 1e6
    theirs = median([_upload(peer, file, n) for n in range(3)]) if peer else None
    if MEMORY.is_dir():
        with tempfile.TemporaryDirectory(dir=MEMORY) as data, polyhost("--printers", "1", "--data", data) as in_memory:
            took = median([_upload(in_memory, file, n) for n in range(5)])
        yield Row(
            f"upload of {megabytes:.0f} MB, hashed and listed, into the page cache",
            "≥ 200 MB/s",
            f"{megabytes / took:.0f} MB/s",
            f"OctoPrint {megabytes / theirs:.0f} MB/s (no hash)" if theirs else "-",
            megabytes / took >= 200,
        )
    took = median([_upload(ours, file, n) for n in range(5)])
    with tempfile.NamedTemporaryFile(dir=ours.data) as copy:
        began = time.perf_counter()
        with file.open("rb") as source:
            shutil.copyfileobj(source, copy, 1 << 20)
        os.fsync(copy.fileno())
        copied = time.perf_counter() - began
    yield Row(
        f"upload of {megabytes:.0f} MB, hashed, synced to the disk and listed",
        "what the disk gives",
        f"{megabytes / took:.0f} MB/s (copying it there and syncing: {megabytes / copied:.0f} MB/s)",
        f"OctoPrint {megabytes / theirs:.0f} MB/s (no hash, no fsync)" if theirs else "-",
    )


def _upload(server: Server, file: Path, n: int) -> float:
    if shutil.which("curl") is None:
        raise Skipped("needs curl")
    command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{time_total}", "-H", f"X-Api-Key: {server.key}"]
    form = f"file=@{file};filename=up{n}.gcode"
    out = subprocess.run([*command, "-F", form, f"{server.url}/api/files/local"], capture_output=True, text=True)
    status, seconds = out.stdout.split()
    assert status == "201", out
    server.client.delete(f"/api/files/local/up{n}.gcode")
    return float(seconds)


def _cold_start(peers: Peers) -> Row:
    took = []
    for _ in range(5):
        began = time.perf_counter()
        with polyhost_serving("[doors]\noctoprint = 0\nmoonraker = 0\n"):
            took.append(time.perf_counter() - began - _init_s())
    theirs = None
    with peers.octoprint() as peer:
        if peer is not None:
            theirs = peers.cold_start_s
    return Row(
        "start to first answer, empty host",
        "≤ 0.8 s",
        f"{median(took):.2f} s",
        f"OctoPrint {theirs:.1f} s" if theirs else "-",
        median(took) <= 0.8,
    )


_init: list[float] = []


def _init_s() -> float:
    """How long `init`, which precedes the start inside the harness, takes by itself."""
    if not _init:
        import sys

        with tempfile.TemporaryDirectory() as data:
            began = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "polyhost.cli", "init", "--data", data, "--json"],
                capture_output=True,
                check=True,
            )
            _init.append(time.perf_counter() - began)
    return _init[0]
