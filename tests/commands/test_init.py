"""`init` makes the first administrator, and says how it goes on."""

from pathlib import Path

from tests.commands.conftest import run


def test_the_next_step_is_for_the_folder_that_was_named(tmp_path: Path) -> None:
    data = tmp_path / "my data"
    made = run("init", "--data", str(data))
    assert made.code == 0
    assert {line.split()[0] for line in made.out.splitlines()} == {"user", "password", "API"}
    assert f"polyhost serve --data '{data}'" in made.err
