"""What a real OctoPrint answered, asked of us again: same status, same keys, same values where they do not vary.

``tests/captures/octoprint/<name>.json`` is recorded by `tests.record_octoprint`.  Where we answer otherwise is said
in ``<name>.differs.json`` beside it, with the reason; what is said there and is not so fails as well.
"""

from pathlib import Path

import pytest

from tests.captures.recorded import CAPTURES, Known, capture
from tests.replay_captures import replayed


@pytest.mark.parametrize("name", CAPTURES)
async def test_we_answer_as_octoprint_did(name: str, tmp_path: Path) -> None:
    known = Known(name)
    new = {title: known.new(title, unlike) for title, unlike, _, _ in await replayed(capture(name), tmp_path / "data")}
    assert {title: unlike for title, unlike in new.items() if unlike} == {}, "differs, and nobody said so"
    assert known.gone() == [], "said to differ, and does not"
