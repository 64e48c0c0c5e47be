"""Replays captures on this host, and shows by hand where it answers otherwise than the original.

``python -m tests.replay_captures [octoprint/NAME …]`` prints what no ``<name>.differs.json`` explains, as
an entry for it, with both answers.
"""

import argparse
import asyncio
import json
import tempfile
from pathlib import Path

import msgspec

from tests.captures.answers import Answer, body_of
from tests.captures.machines import MACHINES
from tests.captures.our_host import polyhost
from tests.captures.playing import differences, title_of
from tests.captures.recorded import MOONRAKER, OCTOPRINT, Captures, Known


async def replayed(captures: Captures, name: str, data: Path) -> list[tuple[str, list[str], Answer, Answer]]:
    """Each exchange's title, what differs, what was recorded, and what we said."""
    found: list[tuple[str, list[str], Answer, Answer]] = []
    titles: set[str] = set()
    capture = captures.capture(name)
    async with polyhost(data, MACHINES[capture.machine]) as (url, keys):
        player = captures.player(url, keys)
        try:
            for step in capture.steps:
                title = title_of(step, player.state)
                while title in titles:
                    title += " again"
                ours = await player.play(step)
                if ours is not None and step.answer is not None:
                    titles.add(title)
                    theirs = msgspec.structs.replace(step.answer, body=body_of(step.answer.body, captures.words))
                    found.append((title, differences(theirs, ours), theirs, ours))
        finally:
            await player.close()
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("names", nargs="*", default=[*_FOLDERS], metavar="octoprint[/NAME]")
    for given in arguments.parse_args().names:
        folder_name, _, one = given.partition("/")
        captures = _FOLDERS[folder_name]
        for name in [one] if one else captures.names:
            _show(captures, name)


_FOLDERS = {"octoprint": OCTOPRINT, "moonraker": MOONRAKER}


def _show(captures: Captures, name: str) -> None:
    known = Known(captures.differences_of(name))
    with tempfile.TemporaryDirectory() as folder:
        for title, unlike, theirs, ours in asyncio.run(replayed(captures, name, Path(folder, "data"))):
            new = known.new(title, unlike)
            if new:
                print(f"{name}: {json.dumps(title, ensure_ascii=False)}: {json.dumps(new)}")
                print("   theirs", _short(theirs))
                print("   ours  ", _short(ours))
    for entry in known.gone():
        print(f"{name}: no longer so: {entry}")


def _short(answer: Answer) -> str:
    return msgspec.json.encode(answer).decode()[:600]


if __name__ == "__main__":
    main()
