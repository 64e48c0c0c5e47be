"""A stand-in for Klippy, for measuring Moonraker: enough to be ready, and to say four times a second what changed.

python -m benchmarks.klippy SOCKET FOLDER     FOLDER has the G-code

Messages are JSON objects, each ended by 0x03: Klipper's docs/API_Server.md.
"""

import asyncio
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

END: Final = b"\x03"
TICK_S: Final = 0.25
VERSION: Final = "v0.12.0-1-standin"
ENDPOINTS: Final = (
    *("info", "list_endpoints", "register_remote_method", "emergency_stop", "objects/list", "objects/query"),
    *("objects/subscribe", "gcode/help", "gcode/script", "gcode/subscribe_output", "gcode/restart"),
    *("gcode/firmware_restart", "pause_resume/pause", "pause_resume/resume", "pause_resume/cancel"),
)

Fields = dict[str, Any]


class Machine:
    """What it says of itself: a print that goes round in circles, slowly heating and cooling."""

    def __init__(self, folder: Path) -> None:
        heater: Fields = {"temperature": 200.0, "target": 200.0, "power": 0.4}
        heaters, place = ["extruder", "heater_bed"], [0.0, 0.0, 0.0, 0.0]
        sections: dict[str, dict[str, str]] = {
            "printer": {"kinematics": "cartesian", "max_velocity": "300", "max_accel": "3000"},
            "virtual_sdcard": {"path": str(folder)},
            **{name: {} for name in ("pause_resume", "display_status", "extruder", "heater_bed", "fan")},
        }
        self.objects: dict[str, Fields] = {
            "webhooks": {"state": "ready", "state_message": "Printer is ready"},
            "gcode": {"commands": {f"COMMAND_{n}": {"help": f"What command {n} does"} for n in range(60)}},
            "configfile": {"config": sections, "settings": sections, "warnings": [], "save_config_pending": False},
            "heaters": {"available_heaters": heaters, "available_sensors": heaters},
            "extruder": {**heater, "can_extrude": True, "pressure_advance": 0.0, "smooth_time": 0.04},
            "heater_bed": dict(heater),
            "fan": {"speed": 1.0, "rpm": None},
            "gcode_move": {"speed_factor": 1.0, "speed": 1500.0, "position": place, "gcode_position": place},
            "toolhead": {"homed_axes": "xyz", "position": place, "print_time": 0.0, "estimated_print_time": 0.0},
            "motion_report": {"live_position": place, "live_velocity": 0.0, "live_extruder_velocity": 0.0},
            "virtual_sdcard": {"progress": 0.0, "is_active": True, "file_position": 0, "file_size": 10_000_000},
            "print_stats": {"filename": "f000.gcode", "state": "printing", "print_duration": 0.0, "filament_used": 0.0},
            "display_status": {"progress": 0.0, "message": None},
            "idle_timeout": {"state": "Printing", "printing_time": 0.0},
            "pause_resume": {"is_paused": False},
            "system_stats": {"sysload": 0.1, "cputime": 0.0, "memavail": 1_000_000},
        }

    def move_on(self, now: float) -> None:
        """A quarter of a second later."""
        place = [100 + 50 * math.cos(now), 100 + 50 * math.sin(now), 0.2, now % 1000]
        done = now % 10_000 / 10_000
        temperature = round(200 + math.sin(now / 7), 2)
        changes: dict[str, Fields] = {
            "extruder": {"temperature": temperature},
            "heater_bed": {"temperature": round(60 + math.sin(now / 11), 2)},
            "toolhead": {"position": place, "print_time": now, "estimated_print_time": now - 0.5},
            "gcode_move": {"position": place, "gcode_position": place},
            "motion_report": {"live_position": place, "live_velocity": 50.0},
            "virtual_sdcard": {"progress": done, "file_position": int(done * 10_000_000)},
            "print_stats": {"print_duration": now, "filament_used": now * 3},
            "idle_timeout": {"printing_time": now},
            "display_status": {"progress": done},
        }
        for name, fields in changes.items():
            self.objects[name] = self.objects[name] | fields

    def chosen(self, wanted: dict[str, list[str] | None]) -> dict[str, Fields]:
        return {
            name: {field: at for field, at in self.objects.get(name, {}).items() if fields is None or field in fields}
            for name, fields in wanted.items()
        }


class Client:
    def __init__(self, machine: Machine, writer: asyncio.StreamWriter) -> None:
        self._machine = machine
        self._writer = writer
        self._wanted: dict[str, list[str] | None] = {}
        self._template: Fields = {}
        self._told: dict[str, Fields] = {}

    def answer(self, said: Any) -> None:
        params = said.get("params") or {}
        result: Fields = {}
        match said["method"]:
            case "info":
                result = {"state": "ready", "state_message": "Printer is ready", "hostname": "standin"}
                result |= {"software_version": VERSION, "cpu_info": "-", "process_id": os.getpid()}
                result |= {name: f"/nonexistent/{name}" for name in ("klipper_path", "python_path", "log_file")}
                result["config_file"] = "/nonexistent/printer.cfg"
            case "list_endpoints":
                result = {"endpoints": ENDPOINTS}
            case "objects/list":
                result = {"objects": list(self._machine.objects)}
            case "objects/query":
                result = {"eventtime": time.monotonic(), "status": self._machine.chosen(params["objects"])}
            case "objects/subscribe":
                self._wanted, self._template = params["objects"], params.get("response_template", {})
                self._told = self._machine.chosen(self._wanted)
                result = {"eventtime": time.monotonic(), "status": self._told}
        if said.get("id") is not None:
            self._send({"id": said["id"], "result": result})

    def tell(self, now: float) -> None:
        """What changed since it was told last."""
        current = self._machine.chosen(self._wanted)
        changes = {
            name: news
            for name, fields in current.items()
            if (news := {field: at for field, at in fields.items() if self._told[name].get(field) != at})
        }
        self._told = current
        if changes:
            self._send({**self._template, "params": {"eventtime": now, "status": changes}})

    def _send(self, message: Any) -> None:
        self._writer.write(json.dumps(message).encode() + END)


async def main(socket: str, folder: Path) -> None:
    machine, clients = Machine(folder), set[Client]()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = Client(machine, writer)
        clients.add(client)
        try:
            while True:
                client.answer(json.loads((await reader.readuntil(END))[:-1]))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            clients.discard(client)
            writer.close()

    async with await asyncio.start_unix_server(connected, socket, limit=1 << 24):
        due = time.monotonic()
        while True:
            due += TICK_S
            await asyncio.sleep(due - time.monotonic())
            machine.move_on(due)
            for client in list(clients):
                client.tell(due)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
