"""`polyhost queue`, against a real host."""

import time
from collections.abc import Callable
from pathlib import Path

from tests.commands.conftest import PATIENCE_S, Ran


def test_files_are_queued_and_printed(polyhost: Callable[..., Ran], tmp_path: Path) -> None:
    printer = polyhost("printers", "list", "--json").json[0]["slug"]
    model = tmp_path / "queued.gcode"
    model.write_text("G28\nG1 X10 F3000\n" * 5)
    assert polyhost("upload", str(model)).code == 0
    assert "no jobs" in polyhost("queue", "list", printer).err
    assert polyhost("queue", "add", "nope.gcode", "--on", printer).code == 2
    queued = polyhost("queue", "add", *["queued.gcode"] * 3, "--on", printer)
    assert (queued.code, queued.out.count("queued.gcode")) == (0, 3)
    assert "is paused" in queued.err
    ids = [job["id"] for job in polyhost("queue", "list", printer, "--json").json["jobs"]]
    assert polyhost("queue", "first", ids[2][:8], "--on", printer, "--json").json["jobs"][0]["id"] == ids[2]
    assert polyhost("queue", "remove", ids[0], "--on", printer, "--json").json["jobs"][1]["id"] == ids[1]
    for wrong in ((), ("--all", ids[1])):
        assert polyhost("queue", "remove", "--on", printer, *wrong).code == 2
    assert polyhost("queue", "remove", "nope", "--on", printer).code == 5
    assert polyhost("queue", "start", printer).code == 0
    give_up = time.monotonic() + PATIENCE_S
    while len(polyhost("queue", "list", printer, "--json").json["jobs"]) != 1:
        assert time.monotonic() < give_up
    assert polyhost("queue", "pause", printer).code == 0
    assert polyhost("queue", "remove", "--on", printer, "--all").code != 0  # nobody says yes
    assert polyhost("queue", "remove", "--on", printer, "--all", "--yes").code == 0
    assert polyhost("queue", "list", printer, "--json").json["jobs"] == []
    while not (run := polyhost("history", "--printer", printer, "--json").json[0])["ended_at"]:
        assert time.monotonic() < give_up
    assert (run["path"], run["state"]) == ("queued.gcode", "completed")
