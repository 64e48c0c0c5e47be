"""Replays captures on this host, and shows by hand where it answers otherwise than the original.

``python -m tests.replay_captures [NAME …]`` prints what no ``<name>.differs.json`` explains, as an entry for it, with
both answers.
"""

import argparse
import asyncio
import json
import tempfile
from pathlib import Path

import msgspec

from tests.captures.machines import MACHINES
from tests.captures.our_host import polyhost
from tests.captures.playing import Answer, Capture, Player, differences, title_of
from tests.captures.recorded import CAPTURES, Known, capture


async def replayed(capture: Capture, data: Path) -> list[tuple[str, list[str], Answer, Answer]]:
    """Each exchange's title, what differs, what was recorded, and what we said."""
    found: list[tuple[str, list[str], Answer, Answer]] = []
    titles: set[str] = set()
    async with polyhost(data, MACHINES[capture.machine]) as (url, keys):
        player = Player(url, keys)
        try:
            for step in capture.steps:
                title = title_of(step, player.state)
                while title in titles:
                    title += " again"
                ours = await player.play(step)
                if ours is not None and step.answer is not None:
                    titles.add(title)
                    found.append((title, differences(step.answer, ours), step.answer, ours))
        finally:
            await player.close()
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("names", nargs="*", default=CAPTURES)
    for name in arguments.parse_args().names:
        known = Known(name)
        with tempfile.TemporaryDirectory() as folder:
            for title, unlike, theirs, ours in asyncio.run(replayed(capture(name), Path(folder, "data"))):
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
