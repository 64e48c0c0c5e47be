"""What the command line writes: lines, tables, times; and how it reads what people type."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyhost.commands.printers import doing, target_of
from polyhost.commands.runs import progress_line, span, with_bar
from polyhost.commands.terminal import Line, bar, clock_time, duration, printable, size, table
from polyhost.commands.views import PrinterView, RunView
from polyhost.core.errors import Malformed
from polyhost.core.job import RunState

RUN = RunView(
    "1", "mk3", "parts/bracket.gcode", RunState.PRINTING, remaining_s=48, fraction_done=0.625, layer=155, layers=250
)


def test_the_progress_line_says_what_the_owner_asks() -> None:
    line = progress_line(RUN, 0.0, 100)
    assert line.startswith("bracket.gcode  ▓▓▓")
    assert "░ 62 %  layer 155/250  0:48 left  done " in line
    assert clock_time(48.0) in line


@given(
    name=st.text(min_size=1, max_size=300),
    fraction=st.floats(0, 1),
    words=st.text(alphabet=st.characters(categories=["L"]), max_size=30),
    columns=st.integers(80, 300),
)
def test_a_line_with_a_bar_fits_the_terminal(name: str, fraction: float, words: str, columns: int) -> None:
    line = with_bar(name, fraction, words, columns)
    assert len(line) < columns
    assert line.isprintable()


def test_a_paused_run_says_so_and_an_ended_one_how_long_it_took() -> None:
    assert "paused" in progress_line(RunView("1", "mk3", "a", RunState.PAUSED), 0.0, 100)
    ended = RunView("1", "mk3", "a", RunState.COMPLETED, fraction_done=1.0, elapsed_s=725, remaining_s=0.0)
    assert progress_line(ended, 0.0, 100).endswith("100 %  completed  after 12:05")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (48.4, "0:48"), (725, "12:05"), (11525, "3:12:05"), (-1, "0:00")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (123456789, "123 MB")])
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


def test_a_table_has_columns_as_wide_as_their_widest_cell() -> None:
    assert table(("A", "LONG"), [("1234", "x"), ("", "y")]) == "A     LONG\n1234  x\n      y"
    assert table(("A", "B"), []) == "A  B"


@given(text=st.text())
def test_names_and_firmwares_words_cannot_move_the_cursor(text: str) -> None:
    assert printable(text).isprintable()
    assert len(printable(text)) == len(text)


@given(fraction=st.floats(-1, 2), cells=st.integers(1, 100))
def test_a_bar_is_as_long_as_it_should_be(fraction: float, cells: int) -> None:
    assert len(bar(fraction, cells)) == cells


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("hotend=215", ("tool0", 215.0)),
        ("hotend1=190.5", ("tool1", 190.5)),
        ("bed=off", ("bed", 0.0)),
        ("tool2=1", ("tool2", 1.0)),
        ("chamber=60", ("chamber", 60.0)),
    ],
)
def test_targets(text: str, target: tuple[str, float]) -> None:
    assert target_of(text) == target


@pytest.mark.parametrize("text", ["hotend", "=5", "bed=warm", "bed=nan", "bed=inf", ""])
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(Malformed, match="no target"):
        target_of(text)


@pytest.mark.parametrize(("text", "seconds"), [("90m", 5400), ("12h", 43200), ("7d", 604800), ("4w", 2419200)])
def test_spans(text: str, seconds: float) -> None:
    assert span(text) == seconds


@pytest.mark.parametrize("text", ["", "d", "7", "-7d", "7y", "١d"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(Malformed, match="no span"):
        span(text)


@pytest.mark.parametrize(
    ("state", "run", "words"),
    [
        ("ready", None, "ready"),
        ("ready", RunState.PAUSED, "paused"),
        ("ready", RunState.COMPLETED, "ready"),
        ("ready", RunState.FAILED, "ready, last print failed"),
        ("offline", RunState.COMPLETED, "offline"),
    ],
)
def test_a_printer_is_doing_one_thing(state: str, run: RunState | None, words: str) -> None:
    view = PrinterView("mk3", "MK3", "serial", state, run=RunView("1", "mk3", "a", run) if run else None)
    assert doing(view) == words


def test_without_a_terminal_a_line_is_written_now_and_then_and_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    seconds = iter(range(100))
    line = Line(lambda: float(next(seconds)))
    for second in range(12):
        line.draw(f"second {second}".format)
    line.draw("the end".format, last=True)
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "second 0"
    assert shown[-1] == "the end"
    assert 3 <= len(shown) < 8
