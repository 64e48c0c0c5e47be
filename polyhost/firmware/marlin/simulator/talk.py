"""What the firmware tells and asks: M0, M1, M31, M73, M75 to M77, M108, M110 to M119, M154, M155, M410, M600, M876."""

from collections.abc import Mapping
from typing import Final

from polyhost.firmware.marlin.simulator.board import Board, Command, Taking, Until, line, words


def nothing(board: Board, rest: bytes) -> None:
    """Taken, and of no consequence here."""


def set_line_number(board: Board, rest: bytes) -> None:
    """M110: the number that the next line follows."""
    number = words(rest).get("N")
    if number is not None:
        board.last_line = int(number)


def debug_flags(board: Board, rest: bytes) -> None:
    """M111"""
    flags = words(rest).get("S")
    if flags is not None:
        board.debug = int(flags) & 0x1F
    names = [
        name for bit, name in enumerate(("ECHO", "INFO", "ERRORS", "DRYRUN", "COMMUNICATION")) if board.debug >> bit & 1
    ]
    board.say(line(f"echo:DEBUG:{','.join(names) or 'off'}"))


def keepalive(board: Board, rest: bytes) -> None:
    """M113: seconds between two ``busy``; 0 is silence."""
    seconds = words(rest).get("S")
    if seconds is None:
        board.say(line(f"echo:M113 S{board.keepalive_s:.0f}"))
    else:
        board.keepalive_s = min(max(seconds, 0.0), 60.0)


def position(board: Board, rest: bytes) -> None:
    """M114"""
    board.say(line(board.position()))


def firmware_info(board: Board, rest: bytes) -> None:
    """M115"""
    machine = board.machine
    board.say(
        line(
            f"FIRMWARE_NAME:{machine.firmware} SOURCE_CODE_URL:github.com/MarlinFirmware/Marlin PROTOCOL_VERSION:1.0 "
            f"MACHINE_TYPE:{machine.name} EXTRUDER_COUNT:{machine.tools} UUID:cede2a2f-41a2-4748-9b12-c55c62f367ff"
        )
    )
    capabilities = {
        "SERIAL_XON_XOFF": False,
        "BINARY_FILE_TRANSFER": False,
        "EEPROM": True,
        "VOLUMETRIC": True,
        "AUTOREPORT_POS": machine.autoreport,
        "AUTOREPORT_TEMP": machine.autoreport,
        "PROGRESS": False,
        "PRINT_JOB": True,
        "AUTOLEVEL": True,
        "RUNOUT": True,
        "Z_PROBE": True,
        "LEVELING_DATA": True,
        "BUILD_PERCENT": False,
        "SOFTWARE_POWER": False,
        "TOGGLE_LIGHTS": False,
        "CASE_LIGHT_BRIGHTNESS": False,
        "EMERGENCY_PARSER": machine.emergency_parser,
        "HOST_ACTION_COMMANDS": True,
        "PROMPT_SUPPORT": True,
        "SDCARD": board.card.inserted,
        "REPEAT": False,
        "SD_WRITE": board.card.inserted,
        "AUTOREPORT_SD_STATUS": board.card.inserted and machine.autoreport,
        "LONG_FILENAME": True,
        "THERMAL_PROTECTION": True,
        "MOTION_MODES": False,
        "ARCS": True,
        "BABYSTEPPING": True,
        "CHAMBER_TEMPERATURE": board.chamber is not None,
        "COOLER_TEMPERATURE": False,
        "MEATPACK": False,
        "CONFIG_EXPORT": False,
    }
    board.say("".join(f"Cap:{name}:{has:d}\n" for name, has in capabilities.items()).encode())
    width, depth, height = machine.volume
    corner = f"{{x:{width:.4f},y:{depth:.4f},z:{height:.4f}}}"
    origin = "{x:0.0000,y:0.0000,z:0.0000}"
    board.say(line(f"area:{{full:{{min:{origin},max:{corner}}},work:{{min:{origin},max:{corner}}}}}"))


def say(board: Board, rest: bytes) -> None:
    """M118: E1 before the text makes it an echo, A1 a host action; P (the port) is ours anyway."""
    text, prefix = rest.lstrip(), b""
    while text[:1].upper() in (b"A", b"E", b"P") and text[1:2].isdigit():
        word, _, text = text.partition(b" ")
        if word[1:] != b"0":
            prefix = {b"A": b"//", b"E": b"echo:"}.get(word[:1].upper(), prefix)
    board.say(prefix + text + b"\n")


def endstops(board: Board, rest: bytes) -> None:
    """M119"""
    planner = board.planner
    at_home = {"x": planner.x, "y": planner.y, "z": planner.z}
    states = {
        f"{axis}_min": "TRIGGERED" if axis.upper() in board.homed and where <= 0.0 else "open"
        for axis, where in at_home.items()
    }
    states |= {"z_probe": "open", "filament": "TRIGGERED"}
    board.say(b"Reporting endstop status\n" + "".join(f"{name}: {state}\n" for name, state in states.items()).encode())


def report_temperatures(board: Board, rest: bytes) -> None:
    """M155: seconds between two reports; 0: none."""
    if board.machine.autoreport:
        board.report_temperatures_s = min(max(words(rest).get("S") or 0.0, 0.0), 60.0)


def report_position(board: Board, rest: bytes) -> None:
    """M154"""
    if board.machine.autoreport:
        board.report_position_s = min(max(words(rest).get("S") or 0.0, 0.0), 60.0)


def wait_for_person(board: Board, rest: bytes) -> Taking:
    """M0, M1: until M108, or for P milliseconds or S seconds."""
    given = words(rest)
    seconds = (given.get("S") or 0.0) + (given.get("P") or 0.0) / 1000.0
    yield from board.rest()
    if seconds > 0.0:
        if not board.instant:
            yield board.now + seconds
        return
    yield from _asking(board, "M0/1 Break Called", "Continue")


def change_filament(board: Board, rest: bytes) -> Taking:
    """M600: park, wait for a person, go on."""
    yield from board.rest()
    if not board.instant:
        yield board.now + 5.0
    board.say(b"//action:paused filament_runout 0\n")
    yield from _asking(board, "Insert filament and click to continue", "Continue")
    board.say(b"//action:resumed\n")


def _asking(board: Board, text: str, button: str) -> Taking:
    board.say(f"//action:prompt_end\n//action:prompt_begin {text}\n".encode())
    board.say(f"//action:prompt_button {button}\n//action:prompt_show\n".encode())
    board.asked, board.interrupted = True, False
    while not board.interrupted:
        yield Until.PERSON
    board.asked = board.interrupted = False
    board.say(b"//action:prompt_end\n")


def start_timer(board: Board, rest: bytes) -> None:
    """M75"""
    if board.job_started is None:
        board.job_started = board.now


def pause_timer(board: Board, rest: bytes) -> None:
    """M76"""
    if board.job_started is not None:
        board.job_s += board.now - board.job_started
        board.job_started = None


def stop_timer(board: Board, rest: bytes) -> None:
    """M77"""
    pause_timer(board, rest)
    board.job_s = 0.0


def print_time(board: Board, rest: bytes) -> None:
    """M31"""
    seconds = int(board.job_s + (board.now - board.job_started if board.job_started is not None else 0.0))
    hours, minutes = divmod(seconds // 60, 60)
    parts = [f"{hours}h"] * (hours > 0) + [f"{minutes}m"] * (hours > 0 or minutes > 0) + [f"{seconds % 60}s"]
    board.say(line(f"echo:Print time: {' '.join(parts)}"))


COMMANDS: Final[Mapping[bytes, Command]] = {
    b"M0": wait_for_person,
    b"M1": wait_for_person,
    b"M31": print_time,
    b"M73": nothing,
    b"M75": start_timer,
    b"M76": pause_timer,
    b"M77": stop_timer,
    b"M108": nothing,  # these four act when they arrive: see `conversation`
    b"M112": nothing,
    b"M410": nothing,
    b"M876": nothing,
    b"M110": set_line_number,
    b"M111": debug_flags,
    b"M113": keepalive,
    b"M114": position,
    b"M115": firmware_info,
    b"M117": nothing,
    b"M118": say,
    b"M119": endstops,
    b"M154": report_position,
    b"M155": report_temperatures,
    b"M290": nothing,  # babysteps are not where a move leads
    b"M600": change_filament,
}
