"""From a command's text to the function that does it."""

import re
from collections.abc import Mapping
from typing import Final

from polyhost.firmware.marlin.simulator import heat, moves, outside, probing, setup, storage, talk
from polyhost.firmware.marlin.simulator.board import Board, Command, Taking, line

COMMANDS: Final[Mapping[bytes, Command]] = {
    **moves.COMMANDS,
    **heat.COMMANDS,
    **storage.COMMANDS,
    **setup.COMMANDS,
    **probing.COMMANDS,
    **outside.COMMANDS,
    **talk.COMMANDS,
}

_CODE: Final = re.compile(rb"([GMT])\s*(\d+)(?:\.\d+)?\s*(.*)", re.IGNORECASE | re.DOTALL)


def execute(board: Board, body: bytes) -> Taking | None:
    """Begin a command; what it waits for, if it does."""
    if board.card.writing:
        storage.write(board, body)
        return None
    code, _, rest = body.partition(b" ")
    command = COMMANDS.get(code)
    if command is not None:
        return command(board, rest)
    match = _CODE.match(body)
    if match is not None:
        code = match[1].upper() + str(int(match[2])).encode()
        if code[:1] == b"T":
            return moves.select_tool(board, int(match[2]))
        command = COMMANDS.get(code)
        if command is not None:
            return command(board, match[3])
    board.say(line(f'echo:Unknown command: "{body.decode("utf-8", "replace")}"'))
    return None
