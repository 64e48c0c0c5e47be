"""Fifty virtual printers printing at once: memory and CPU of the whole tree, with the API answering throughout."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Row, polyhost
from benchmarks.peers import Peers
from benchmarks.samples import sample

PRINTERS = 50
MEASURED_S = 20.0


def rows(peers: Peers) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder, polyhost("--printers", str(PRINTERS), "--speed", "1") as server:
        file = sample("prusaslicer_small", Path(folder))
        server.upload(file)
        slugs = [f"virtual-{n}" for n in range(1, PRINTERS + 1)]
        for slug in slugs:
            server.post(f"/p/{slug}/api/files/local/{file.name}", {"command": "select", "print": True})
        time.sleep(5)
        cpu, began, slowest, asked = server.cpu_s(), time.perf_counter(), 0.0, 0
        while time.perf_counter() - began < MEASURED_S:
            sent = time.perf_counter()
            state = server.get(f"/p/{slugs[asked % PRINTERS]}/api/job")["state"]
            slowest, asked = max(slowest, time.perf_counter() - sent), asked + 1
            assert state.startswith("Printing"), state
            time.sleep(0.02)
        cpu = (server.cpu_s() - cpu) / (time.perf_counter() - began)
        resident, proportional = server.memory_mib()
        yield Row(
            f"memory, {PRINTERS} virtual printers printing, whole tree",
            "≤ 400 MiB",
            f"{proportional:.0f} MiB (sum of resident {resident:.0f}) in {len(server.tree())} processes",
            "OctoPrint 50 × 98 MiB",
            resident <= 400,
        )
        yield Row(
            f"CPU, {PRINTERS} virtual printers at 1×, simulators included",
            "-",
            f"{cpu:.0%} of a core; slowest of {asked} answers {slowest * 1000:.0f} ms",
        )
