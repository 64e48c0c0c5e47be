"""OctoPrint and Moonraker from PyPI beside us, in the same run; each is installed in a folder of its own."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.harness import Server, answers, free_port, until

VERSION = "1.11.8"
MOONRAKER_VERSION = "0.11.0"
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

MOONRAKER = """
[server]
host: 127.0.0.1
port: {port}
klippy_uds_address: {socket}
max_websocket_connections: 2000
[machine]
provider: none
validate_service: False
validate_config: False
[authorization]
trusted_clients: 127.0.0.1/32
[file_manager]
enable_object_processing: False
[octoprint_compat]
[history]
"""


class Peers:
    """The peers that are installed; a figure of one that is not is None."""

    def __init__(self, folder: Path | None, moonraker: Path | None = None) -> None:
        self._folder = folder
        self._moonraker = moonraker

    def program(self) -> Path | None:
        return self._folder / "bin" / "octoprint" if self._folder else None

    def python(self) -> Path | None:
        """The interpreter that can import Printrun."""
        found = self._folder / "bin" / "python" if self._folder else None
        if found is None or subprocess.run([str(found), "-c", "import printrun.printcore"], check=False).returncode:
            return None
        return found

    def install(self) -> None:
        if self._moonraker is not None and not (self._moonraker / "bin" / "moonraker").exists():
            subprocess.run([sys.executable, "-m", "venv", str(self._moonraker)], check=True)
            pip = [str(self._moonraker / "bin" / "pip"), "install", "-q"]
            subprocess.run([*pip, f"moonraker=={MOONRAKER_VERSION}"], check=True)
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

    @contextmanager
    def moonraker(self, furnish: Callable[[Path], None]) -> Iterator[Server | None]:
        """Moonraker on a stand-in for Klippy that prints; `furnish` puts files into the folder for G-code first."""
        if self._moonraker is None:
            yield None
            return
        with (
            tempfile.TemporaryDirectory(prefix="polyhost-peer-") as base,
            tempfile.TemporaryDirectory(prefix="polyhost-klippy-") as lower,  # its processor time is not Moonraker's
        ):
            port, socket = free_port(), str(Path(lower, "klippy.sock"))
            for name in ("config", "logs", "gcodes"):
                Path(base, name).mkdir()
            settings = Path(base, "config", "moonraker.conf")
            settings.write_text(MOONRAKER.format(port=port, socket=socket))
            furnish(Path(base, "gcodes"))
            link = Path(lower, "gcodes")
            link.symlink_to(Path(base, "gcodes"))
            program = [str(self._moonraker / "bin" / "moonraker"), "-d", base, "-c", str(settings)]
            processes = [
                subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                for command in ([sys.executable, "-m", "benchmarks.klippy", socket, str(link)], program)
            ]
            try:
                server = Server("Moonraker", f"http://127.0.0.1:{port}", "", processes[1].pid, Path(base))
                del server.client.headers["X-Api-Key"]
                until(lambda: answers(server, "/printer/objects/list"), 60, "Moonraker")
                server.key = server.get("/access/api_key")["result"]
                yield server
            finally:
                for process in processes:
                    process.terminate()
                for process in processes:
                    try:
                        process.wait(20)
                    except subprocess.TimeoutExpired:
                        process.kill()
                        process.wait()


def connect(server: Server, port: str) -> None:
    server.post("/api/connection", {"command": "connect", "port": port, "baudrate": 115200})
    until(lambda: server.get("/api/connection")["current"]["state"] == "Operational", 60, "the connection")
