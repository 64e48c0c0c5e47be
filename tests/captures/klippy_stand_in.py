"""A stand-in for Klippy: its socket, with as much of a machine behind it as Moonraker needs to be recorded.

JSON objects, each ended by 0x03, on a Unix socket (specification, 5.1 and 5.2).  The machine does each command at
once, and prints a file a share at a time.  ``python -m tests.captures.klippy_stand_in SOCKET GCODES`` runs one.
"""

import argparse
import asyncio
import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

TICK_S: Final = 0.25
SHARES_OF_A_PRINT: Final = 8
END: Final = b"\x03"
HELP: Final = {
    "CANCEL_PRINT": "Cancel the current print",
    "FIRMWARE_RESTART": "Restart firmware, host, and reload config",
    "PAUSE": "Pauses the current print",
    "RESTART": "Reload config file and restart host software",
    "RESUME": "Resumes the print from a pause",
    "SDCARD_PRINT_FILE": "Loads a SD file and starts the print.  May include files in subdirectories.",
    "SET_HEATER_TEMPERATURE": "Sets a heater temperature",
}
ENDPOINTS: Final = (
    *("info", "emergency_stop", "register_remote_method", "list_endpoints", "gcode/help", "gcode/script"),
    *("gcode/restart", "gcode/firmware_restart", "gcode/subscribe_output", "objects/list", "objects/query"),
    *("objects/subscribe", "pause_resume/pause", "pause_resume/resume", "pause_resume/cancel"),
    "query_endstops/status",
)


class Refused(Exception):
    """What Klippy answers with an error."""


class Machine:
    """The printer objects, and the commands that change them."""

    def __init__(self, gcodes: Path) -> None:
        self._gcodes = gcodes
        self._responses: list[str] = []
        self._done = 0
        config = {
            "printer": {"kinematics": "cartesian", "max_velocity": "300", "max_accel": "3000"},
            "virtual_sdcard": {"path": str(gcodes)},
            "pause_resume": {},
            "display_status": {},
            "extruder": {"nozzle_diameter": "0.4", "filament_diameter": "1.75", "min_temp": "0", "max_temp": "300"},
            "heater_bed": {"min_temp": "0", "max_temp": "130"},
            **{f"gcode_macro {name}": {"gcode": "\n"} for name in ("PAUSE", "RESUME", "CANCEL_PRINT")},
        }
        origin = [0.0, 0.0, 0.0, 0.0]
        self.objects: dict[str, dict[str, Any]] = {
            "webhooks": {"state": "ready", "state_message": "Printer is ready"},
            "gcode": {"commands": {name: {"help": words} for name, words in HELP.items()} | {"G1": {}, "G28": {}}},
            "configfile": {
                "config": config,
                "settings": {name.lower(): dict(each) for name, each in config.items()},
                "warnings": [],
                "save_config_pending": False,
                "save_config_pending_items": {},
            },
            "heaters": {
                "available_heaters": ["heater_bed", "extruder"],
                "available_sensors": ["heater_bed", "extruder"],
                "available_monitors": [],
            },
            "heater_bed": {"temperature": 22.0, "target": 0.0, "power": 0.0},
            "extruder": {
                "temperature": 22.0,
                "target": 0.0,
                "power": 0.0,
                "can_extrude": False,
                "pressure_advance": 0.0,
                "smooth_time": 0.04,
                "motion_queue": None,
            },
            "fan": {"speed": 0.0, "rpm": None},
            "gcode_move": {
                "speed_factor": 1.0,
                "speed": 1500.0,
                "extrude_factor": 1.0,
                "absolute_coordinates": True,
                "absolute_extrude": True,
                "homing_origin": origin,
                "position": origin,
                "gcode_position": origin,
                "axis_map": {"X": 0, "Y": 1, "Z": 2, "E": 3},
            },
            "idle_timeout": {"state": "Idle", "printing_time": 0.0, "idle_timeout": 600.0},
            "pause_resume": {"is_paused": False},
            "display_status": {"progress": 0.0, "message": None},
            "print_stats": {
                "filename": "",
                "total_duration": 0.0,
                "print_duration": 0.0,
                "filament_used": 0.0,
                "state": "standby",
                "message": "",
                "info": {"total_layer": None, "current_layer": None},
            },
            "virtual_sdcard": {
                "file_path": None,
                "progress": 0.0,
                "is_active": False,
                "file_position": 0,
                "file_size": 0,
            },
            "toolhead": {
                "homed_axes": "",
                "axis_minimum": origin,
                "axis_maximum": [220.0, 220.0, 250.0, 0.0],
                "print_time": 0.0,
                "stalls": 0,
                "estimated_print_time": 0.0,
                "extruder": "extruder",
                "position": origin,
                "max_velocity": 300.0,
                "max_accel": 3000.0,
                "minimum_cruise_ratio": 0.5,
                "square_corner_velocity": 5.0,
                "extra_axes": {"extruder": 3},
            },
            "system_stats": {"sysload": 0.1, "cputime": 1.0, "memavail": 1000000},
            **{f"gcode_macro {name}": {} for name in ("PAUSE", "RESUME", "CANCEL_PRINT")},
        }
        self._commands: Mapping[str, Callable[[dict[str, str]], None]] = {
            "SDCARD_PRINT_FILE": self._start,
            "PAUSE": self._pause,
            "RESUME": self._resume,
            "CANCEL_PRINT": self._cancel,
            "SET_HEATER_TEMPERATURE": lambda said: self._heat(said["HEATER"], float(said.get("TARGET", 0))),
            "M104": lambda said: self._heat("extruder", float(said.get("S", 0))),
            "M140": lambda said: self._heat("heater_bed", float(said.get("S", 0))),
            "G28": lambda said: self.change("toolhead", homed_axes="xyz"),
            "M117": lambda said: self.change("display_status", message=said[""] or None),
            "M118": lambda said: self._responses.append(f"echo: {said['']}"),
            "G1": self._move,
        }

    @property
    def state(self) -> str:
        return str(self.objects["webhooks"]["state"])

    def change(self, name: str, **fields: Any) -> None:
        self.objects[name] = self.objects[name] | fields

    def stop(self) -> None:
        """What ``emergency_stop`` does."""
        self.change("webhooks", state="shutdown", state_message="Shutdown due to webhooks request")
        self.change("virtual_sdcard", is_active=False)

    def tick(self) -> None:
        """A quarter of a second goes by."""
        self.change("toolhead", estimated_print_time=round(time.monotonic(), 3))
        for heater in ("extruder", "heater_bed"):
            self.change(heater, temperature=self.objects[heater]["target"] or 22.0)
        if self.state == "ready" and self.objects["print_stats"]["state"] == "printing":
            self._print_on()

    def run(self, script: str) -> list[str]:
        """Do what `script` says; what the machine said to it.  `Refused` ends it."""
        if self.state != "ready":
            raise Refused(self.objects["webhooks"]["state_message"])
        self._responses = []
        for line in script.splitlines():
            name, _, rest = line.partition(";")[0].strip().partition(" ")
            if not name:
                continue
            do = self._commands.get(name.upper())
            if do is not None:
                do({"": rest, **_arguments(rest)})
            elif not name[1:].isdigit():
                self._responses.append(f'// Unknown command:"{name.upper()}"')
        return self._responses

    def _heat(self, heater: str, target: float) -> None:
        if heater not in ("extruder", "heater_bed"):
            raise Refused(f"The value '{heater}' is not valid for HEATER")
        self.change(heater, target=target, power=1.0 if target else 0.0)

    def _move(self, said: dict[str, str]) -> None:
        if not self.objects["toolhead"]["homed_axes"]:
            raise Refused("Must home axis first: 9999.000 0.000 0.000 [0.000]")

    def _start(self, said: dict[str, str]) -> None:
        name = said.get("FILENAME", "").lstrip("/")
        file = self._gcodes / name
        if self.objects["virtual_sdcard"]["is_active"]:
            raise Refused("SD busy")
        if not file.is_file():
            raise Refused("Unable to open file")
        size = file.stat().st_size
        self._done = 0
        self.change(
            "virtual_sdcard", file_path=str(file), progress=0.0, is_active=True, file_position=0, file_size=size
        )
        self.change("print_stats", filename=name, total_duration=0.0, print_duration=0.0, filament_used=0.0)
        self.change("print_stats", state="printing", message="")
        self.change("idle_timeout", state="Printing")
        self._responses += [f"File opened:{name} Size:{size}", "File selected"]

    def _print_on(self) -> None:
        self._done += 1
        stats, card = self.objects["print_stats"], self.objects["virtual_sdcard"]
        share = self._done / SHARES_OF_A_PRINT
        self.change("virtual_sdcard", progress=share, file_position=int(card["file_size"] * share))
        self.change("print_stats", total_duration=stats["total_duration"] + TICK_S)
        self.change("print_stats", print_duration=stats["print_duration"] + TICK_S, filament_used=5.0 * self._done)
        if self._done == SHARES_OF_A_PRINT:
            self._end("complete")

    def _end(self, state: str) -> None:
        self.change("print_stats", state=state)
        self.change("virtual_sdcard", is_active=False)
        if state == "cancelled":
            self.change("virtual_sdcard", file_path=None, progress=0.0, file_position=0, file_size=0)
        self.change("pause_resume", is_paused=False)
        self.change("idle_timeout", state="Ready")

    def _pause(self, said: dict[str, str]) -> None:
        if self.objects["print_stats"]["state"] == "printing":
            self.change("print_stats", state="paused")
            self.change("pause_resume", is_paused=True)
            self.change("virtual_sdcard", is_active=False)

    def _resume(self, said: dict[str, str]) -> None:
        if self.objects["print_stats"]["state"] == "paused":
            self.change("print_stats", state="printing")
            self.change("pause_resume", is_paused=False)
            self.change("virtual_sdcard", is_active=True)

    def _cancel(self, said: dict[str, str]) -> None:
        if self.objects["print_stats"]["state"] in {"printing", "paused"}:
            self._end("cancelled")


def _arguments(rest: str) -> dict[str, str]:
    """``A=b`` of the long commands and ``S200`` of the short ones.

    >>> _arguments('FILENAME="a b.gcode" X=1 S200')
    {'FILENAME': 'a b.gcode', 'X': '1', 'S': '200'}
    """
    found: dict[str, str] = {}
    quoted = rest.split('"')
    words = [word for n, part in enumerate(quoted) for word in ([part] if n % 2 else part.split())]
    for word in words:
        name, given, value = word.partition("=")
        if given:
            found[name.upper()] = value
        elif found and not next(reversed(found.values())):
            found[next(reversed(found))] = word
        elif word:
            found[word[0].upper()] = word[1:]
    return found


class Client:
    """One connection: its subscription, and what it wants to hear."""

    def __init__(self, server: "StandIn", writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._writer = writer
        self._wanted: Mapping[str, list[str] | None] = {}
        self._template: dict[str, Any] = {}
        self._last: dict[str, dict[str, Any]] = {}
        self.output: dict[str, Any] | None = None

    def send(self, message: dict[str, Any]) -> None:
        if not self._writer.is_closing():
            self._writer.write(json.dumps(message).encode() + END)

    def answer(self, said: dict[str, Any]) -> None:
        try:
            result = {"result": self._do(said.get("method", ""), said.get("params") or {})}
        except Refused as refused:
            result = {"error": {"error": "WebRequestError", "message": str(refused)}}
        if said.get("id") is not None:
            self.send({"id": said["id"], **result})

    def tell_changes(self) -> None:
        """What changed of what it subscribed to."""
        now = self._status(self._wanted)
        changed = {
            name: fields
            for name, each in now.items()
            if (fields := {key: value for key, value in each.items() if self._last.get(name, {}).get(key) != value})
        }
        self._last = now
        if changed:
            self.send({**self._template, "params": {"eventtime": time.monotonic(), "status": changed}})

    def _status(self, wanted: Mapping[str, list[str] | None]) -> dict[str, dict[str, Any]]:
        objects = self._server.machine.objects
        return {
            name: dict(objects.get(name, {}))
            if fields is None
            else {key: objects.get(name, {}).get(key) for key in fields}
            for name, fields in wanted.items()
        }

    def _do(self, method: str, params: dict[str, Any]) -> Any:
        server, machine = self._server, self._server.machine
        match method:
            case "info":
                return server.info()
            case "list_endpoints":
                return {"endpoints": list(ENDPOINTS)}
            case "objects/list":
                return {"objects": list(machine.objects)}
            case "objects/query" | "objects/subscribe":
                wanted = params.get("objects")
                if not isinstance(wanted, dict):
                    raise Refused("Missing Argument [objects]")
                if any(not isinstance(fields, list | None) for fields in wanted.values()):
                    raise Refused("Invalid Argument Type [objects]")
                status = self._status(wanted)
                if method == "objects/subscribe":
                    self._wanted, self._template = wanted, params.get("response_template", {})
                    self._last = status
                return {"eventtime": time.monotonic(), "status": status}
            case "gcode/help":
                return HELP
            case "gcode/subscribe_output":
                self.output = params.get("response_template", {})
                return {}
            case "register_remote_method":
                return {}
            case "gcode/script":
                if "script" not in params:
                    raise Refused("Missing Argument [script]")
                if not isinstance(params["script"], str):
                    raise Refused("Invalid Argument Type [script]")
                return server.run(params["script"])
            case "pause_resume/pause" | "pause_resume/resume" | "pause_resume/cancel":
                return server.run(
                    {"pause": "PAUSE", "resume": "RESUME", "cancel": "CANCEL_PRINT"}[method.rpartition("/")[2]]
                )
            case "query_endstops/status":
                return {"stepper_x": "open", "stepper_y": "open", "stepper_z": "open"}
            case "emergency_stop":
                machine.stop()
                return {}
            case "gcode/restart" | "gcode/firmware_restart":
                return server.restart_soon()
        raise Refused(f"webhooks: No registered callback for path '{method}'")


class StandIn:
    """The socket and who is connected."""

    def __init__(self, path: Path, gcodes: Path) -> None:
        self.path = path
        self.gcodes = gcodes
        self.machine = Machine(gcodes)
        self._clients: dict[Client, asyncio.StreamWriter] = {}

    def info(self) -> dict[str, Any]:
        return {
            "state": self.machine.state,
            "state_message": self.machine.objects["webhooks"]["state_message"],
            "hostname": "printer",
            "klipper_path": str(self.path.parent),
            "python_path": "/usr/bin/python3",
            "process_id": os.getpid(),
            "user_id": os.getuid(),
            "group_id": os.getgid(),
            "log_file": str(self.path.parent / "klippy.log"),
            "config_file": str(self.path.parent / "printer.cfg"),
            "software_version": "v0.13.0-1-stand-in",
            "cpu_info": "2 core",
        }

    def run(self, script: str) -> dict[str, Any]:
        if script.strip() in {"RESTART", "FIRMWARE_RESTART"}:
            return self.restart_soon()
        for line in self.machine.run(script):
            for client in self._clients:
                if client.output is not None:
                    client.send({**client.output, "params": {"response": line}})
        return {}

    def restart_soon(self) -> dict[str, Any]:
        asyncio.get_running_loop().call_later(TICK_S, self.restart)  # the answer goes first
        return {}

    def restart(self) -> None:
        """As Klippy does: everybody is disconnected, and finds a machine that did nothing yet."""
        self.machine = Machine(self.gcodes)
        for writer in self._clients.values():
            writer.close()

    async def serve(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        async with await asyncio.start_unix_server(self._connected, self.path, limit=1 << 24):
            while True:
                await asyncio.sleep(TICK_S)
                self.machine.tick()
                for client in list(self._clients):
                    client.tell_changes()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = Client(self, writer)
        self._clients[client] = writer
        try:
            while True:
                client.answer(json.loads((await reader.readuntil(END))[:-1]))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            del self._clients[client]
            writer.close()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("socket", type=Path)
    arguments.add_argument("gcodes", type=Path)
    given = arguments.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(StandIn(given.socket, given.gcodes).serve())


if __name__ == "__main__":
    main()
