"""OctoPrint from PyPI beside us, in the same run; `make bench PEERS=1` installs it in a folder of its own."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.harness import Server, answers, free_port, until

VERSION = "1.11.8"
KEY = "BE0C4BE0C4BE0C4BE0C4BE0C4BE0C400"

SETTINGS = """
server: {{host: 127.0.0.1, port: {port}, firstRun: false, secretKey: benchbenchbenchbenchbenchbench00,
  onlineCheck: {{enabled: false}}, pluginBlacklist: {{enabled: false}}, pythonEolCheck: {{enabled: false}}}}
api: {{key: {key}}}
accessControl: {{salt: benchsalt}}
serial: {{port: VIRTUAL, baudrate: 115200, autoconnect: false, log: false, additionalPorts: ["{ports}"]}}
plugins:
  _disabled: [softwareupdate, announcements, tracking, errortracking, discovery, pluginmanager, achievements,
    health_check]
  virtual_printer: {{_config_version: 1, enabled: true, sendWait: false, throttle: 0, simulated_errors: []}}
"""


class Peers:
    """The peers that are installed; a figure of one that is not is None."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def program(self) -> Path | None:
        return self._folder / "bin" / "octoprint" if self._folder else None

    def python(self) -> Path | None:
        """The interpreter that can import Printrun."""
        found = self._folder / "bin" / "python" if self._folder else None
        if found is None or subprocess.run([str(found), "-c", "import printrun.printcore"], check=False).returncode:
            return None
        return found

    def install(self) -> None:
        program = self.program()
        if self._folder is None or program is None or program.exists():
            return
        subprocess.run([sys.executable, "-m", "venv", str(self._folder)], check=True)
        pip = [str(self._folder / "bin" / "pip"), "install", "-q"]
        subprocess.run([*pip, f"OctoPrint=={VERSION}"], check=True)
        # Its window needs wxPython, which compiles for half an hour; its printcore needs pyserial, as OctoPrint does.
        subprocess.run([*pip, "--no-deps", "Printrun"], check=True)

    @contextmanager
    def octoprint(self, ports: str = "/nonexistent") -> Iterator[Server | None]:
        installed = self.program()
        if installed is None:
            yield None
            return
        with tempfile.TemporaryDirectory(prefix="polyhost-peer-") as base:
            port = free_port()
            Path(base, "config.yaml").write_text(SETTINGS.format(port=port, key=KEY, ports=ports))
            program = [str(installed), "-b", base]
            subprocess.run(
                [*program, "user", "add", "admin", "--password", "bench-pass-1", "--admin"],
                capture_output=True,
                check=True,
            )
            command = [*program, "serve", "--iknowwhatimdoing", "--host", "127.0.0.1", "--port", str(port)]
            began = time.perf_counter()
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                server = Server("OctoPrint", f"http://127.0.0.1:{port}", KEY, process.pid, Path(base))
                until(lambda: answers(server, "/api/version"), 120, "OctoPrint")
                self.cold_start_s = time.perf_counter() - began
                # The global key makes OctoPrint log a warning for each request; a user's own key does not.
                server.key = server.client.post("/api/access/users/admin/apikey", json={}).json()["apikey"]
                server.client.headers["X-Api-Key"] = server.key
                yield server
            finally:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def connect(server: Server, port: str) -> None:
    server.post("/api/connection", {"command": "connect", "port": port, "baudrate": 115200})
    until(lambda: server.get("/api/connection")["current"]["state"] == "Operational", 60, "the connection")
