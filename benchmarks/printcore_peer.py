"""Prints a file with Printrun's printcore, for `benchmarks.streaming`; run by the Python of the peers' folder.

python printcore_peer.py PORT BAUD FILE SECONDS prints one line of JSON: CPU seconds and lines in that time.
"""

import json
import resource
import sys
import time

from printrun import gcoder  # type: ignore[import-not-found]
from printrun.printcore import printcore  # type: ignore[import-not-found]


def main() -> None:
    port, baud, file, seconds = sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
    with open(file) as source:
        code = gcoder.LightGCode([line.strip() for line in source][:100_000])
    core = printcore(port, baud)
    while not core.online:
        time.sleep(0.05)
    core.startprint(code)
    time.sleep(1)
    before, first = resource.getrusage(resource.RUSAGE_SELF), core.queueindex
    time.sleep(seconds)
    after, last = resource.getrusage(resource.RUSAGE_SELF), core.queueindex
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"cpu_s": cpu, "lines": last - first}), flush=True)
    core.cancelprint()
    core.disconnect()


if __name__ == "__main__":
    main()
