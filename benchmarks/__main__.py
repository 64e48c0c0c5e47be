"""``make bench``: every figure that the project has a target for, in one table.

python -m benchmarks [NAME …] [--octoprint FOLDER] [--moonraker FOLDER] [--markdown FILE]

NAME is a module of this folder (requests, reading, farm, streaming, whole, push, moonraker).  With a FOLDER, OctoPrint
or Moonraker is installed there from PyPI (once) and measured in the same run.
"""

import argparse
import datetime
import importlib
import os
import platform
from pathlib import Path

from benchmarks.harness import Row, Skipped
from benchmarks.peers import Peers

NAMES = ("requests", "reading", "farm", "streaming", "whole", "push", "moonraker")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--octoprint", type=Path, metavar="FOLDER")
    parser.add_argument("--moonraker", type=Path, metavar="FOLDER")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - set(NAMES):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    peers = Peers(chosen.octoprint, chosen.moonraker)
    peers.install()
    rows: list[Row] = []
    for name in chosen.names or NAMES:
        try:
            for row in importlib.import_module(f"benchmarks.{name}").rows(peers):
                print(line(row), flush=True)
                rows.append(row)
        except Skipped as why:
            print(f"{name}: skipped: {why}", flush=True)
    if chosen.markdown:
        chosen.markdown.write_text(page(rows))


def line(row: Row) -> str:
    verdict = {True: "met", False: "MISSED", None: ""}[row.met]
    return f"{row.what:<56} {row.measured:<64} {row.peer:<32} {row.target:<34} {verdict}"


def page(rows: list[Row]) -> str:
    """The table as a page of the docs, with the conditions of the run."""
    model = next((x for x in Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("model name")), ": unknown")
    conditions = f"{os.cpu_count()} cores of {model.split(':', 1)[1].strip()}, Python {platform.python_version()}"
    verdict = {True: "met", False: "**missed**", None: ""}
    table = "\n".join(
        f"| {row.what} | {row.target} | {row.measured} | {row.peer} | {verdict[row.met]} |" for row in rows
    )
    return f"""# Benchmarks

The last run of `make bench`: {datetime.date.today()}, {conditions}, loopback, everything on the one machine (the load
generator and the simulated firmware too), medians. The machine was shared; read ratios rather than single figures.

| what | target | Polyhost | peer, same run | |
| --- | --- | --- | --- | --- |
{table}
"""


if __name__ == "__main__":
    main()
