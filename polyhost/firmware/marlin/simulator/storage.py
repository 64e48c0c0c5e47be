"""The SD card's commands: M20 to M30 and M33."""

import re
from collections.abc import Mapping
from typing import Final

from polyhost.firmware.marlin.simulator.board import Board, Command, Taking, line, words

_ENDS_WRITING: Final = re.compile(rb"M29(?!\d)")  # anywhere in the line, as Marlin looks for it


def _name(rest: bytes) -> str:
    return rest.decode("utf-8", "replace").strip()


def list_files(board: Board, rest: bytes) -> None:
    """M20: short names and sizes; L adds the long names."""
    if not board.card.mounted:
        board.say(b"echo:No SD card\n")
        return
    long = "L" in words(rest)
    board.say(b"Begin file list\n")
    for short, size, name in board.card.listing():
        board.say(line(f"{short} {size} {name}" if long else f"{short} {size}"))
    board.say(b"End file list\n")


def mount(board: Board, rest: bytes) -> None:
    """M21"""
    board.card.mounted = board.card.inserted
    board.say(b"echo:SD card ok\n" if board.card.inserted else b"echo:No SD card\n")


def release(board: Board, rest: bytes) -> None:
    """M22"""
    board.card.mounted = board.card.printing = False
    board.say(b"echo:SD card released\n")


def select(board: Board, rest: bytes) -> None:
    """M23"""
    card = board.card
    short = card.find(_name(rest)) if card.mounted else ""
    board.say(line(f"echo:Now fresh file: {_name(rest)}"))
    if not short:
        board.say(line(f"open failed, File: {_name(rest)}."))
        return
    card.select(short)
    board.say(line(f"File opened: {short} Size: {card.size}\nFile selected"))


def start(board: Board, rest: bytes) -> None:
    """M24"""
    card = board.card
    if card.mounted and card.selected:
        card.printing = True
        if board.job_started is None:
            board.job_started = board.now


def pause(board: Board, rest: bytes) -> None:
    """M25"""
    board.card.printing = False


def seek(board: Board, rest: bytes) -> None:
    """M26"""
    offset = words(rest).get("S")
    if offset is not None:
        board.card.offset = min(max(int(offset), 0), board.card.size)


def status(board: Board, rest: bytes) -> None:
    """M27: alone the progress, S reports it every so many seconds, C names the file."""
    given = words(rest)
    if "C" in given:
        card = board.card
        name = f"{card.selected} {card.long_name(card.selected)}" if card.selected else "(no file)"
        board.say(line(f"Current file: {name}"))
    elif given.get("S") is not None:
        if board.machine.autoreport:
            board.report_card_s = min(max(given["S"] or 0.0, 0.0), 60.0)
    else:
        board.say(line(board.card.status()))


def begin_writing(board: Board, rest: bytes) -> None:
    """M28: what follows goes into a file instead of being done, up to M29."""
    card, name = board.card, _name(rest)
    if not card.mounted or not name or not card.begin(name):
        board.say(line(f"open failed, File: {name}."))
        return
    board.say(line(f"echo:Now fresh file: {name}\nWriting to file: {name}"))


def end_writing(board: Board, rest: bytes) -> None:
    """M29, when nothing is being written."""


def write(board: Board, body: bytes) -> None:
    """A command that arrives while a file is being written."""
    card = board.card
    if _ENDS_WRITING.search(body):
        card.end()
        board.say(b"Done saving file.\n")
    elif not card.write(body):
        board.say(b"Error:error writing to file\n")


def delete(board: Board, rest: bytes) -> None:
    """M30"""
    card, name = board.card, _name(rest)
    short = card.find(name) if card.mounted else ""
    if not short or (card.printing and card.selected == short):
        board.say(line(f"Deletion failed, File: {name}."))
        return
    card.remove(short)
    if card.selected == short:
        card.select("")
    board.say(line(f"File deleted:{short}"))


def long_name(board: Board, rest: bytes) -> None:
    """M33"""
    short = board.card.find(_name(rest))
    board.say(line(f"/{board.card.long_name(short)}" if short else "?Path not found"))


def select_and_start(board: Board, rest: bytes) -> Taking | None:
    """M32"""
    select(board, rest.strip().removeprefix(b"!").strip(b"#"))
    start(board, b"")
    return None


COMMANDS: Final[Mapping[bytes, Command]] = {
    b"M20": list_files,
    b"M21": mount,
    b"M22": release,
    b"M23": select,
    b"M24": start,
    b"M25": pause,
    b"M26": seek,
    b"M27": status,
    b"M28": begin_writing,
    b"M29": end_writing,
    b"M30": delete,
    b"M32": select_and_start,
    b"M33": long_name,
}
