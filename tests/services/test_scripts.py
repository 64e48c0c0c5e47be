"""Templates become commands: the values they know, now and later, what is refused, and who may set them."""

import asyncio
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyhost import config
from polyhost.core.errors import Malformed, NotAllowed, NotFound
from polyhost.core.file import File
from polyhost.core.handling import OnError, ScriptName
from polyhost.core.placeholders import filled
from polyhost.core.ports import Scripts
from polyhost.core.printer import Position, PrinterProfile, PrinterState, Temperature
from polyhost.firmware.marlin.lines import numbered
from polyhost.gcode.vetting import MAX_COMMAND_BYTES
from polyhost.services.handling import MachineOptions
from polyhost.services.scripts import MAX_BYTES, GcodeScripts, plain, plainly
from polyhost.services.templates import Rendered, Rendering, render
from tests.services.world import ADMIN, OPERATOR, World, living, until

PAUSED = ScriptName.AFTER_PAUSE.value
FILE = File("a/part.gcode", 100, 1.0, "", "", "")
# As in the documentation of hosts that have such scripts, and in forums.
PARK = """
{% if pause_position.x is not none %}
; relative XYZE
G91
M83
G1 Z+5 E-0.8 F4500
M82
G90
{% if pause_position.z + 10 > 180 %}G1 Z180{% else %}G1 Z{{ pause_position.z + 10 }}{% endif %}
G1 X{{ pause_position.x|default(0) }} Y{{ "%s"|format(pause_position.y) }} F{{ pause_position.f|round(1) }}
{% endif %}
{% for tool in range(printer_profile.extruder.count) %}
{% if pause_temperature[tool]['target'] %}M104 T{{ tool }} S{{ pause_temperature[tool].target|int }}{% endif %}
{% endfor %}
M117 {{ script.name }} {{ (pause_temperature.b.target * 2 - 10) / 2 }}
"""


def rendered(template: str, name: str = PAUSED, **snippets: str) -> tuple[str, ...]:
    profile = {"extruder": {"count": 2}}
    answer = render(Rendering((name,), {name: template}, snippets, {"printer_profile": profile}, tools=2))
    assert isinstance(answer, Rendered), answer
    return answer.lines[name]


def sent(lines: tuple[str, ...], **values: float | str | None) -> list[str]:
    return [line for line in (filled(line, values) for line in lines) if line is not None]


def test_what_is_known_later_is_reckoned_with_and_compared_later() -> None:
    lines = rendered(PARK)
    retract = ["G91", "M83", "G1 Z+5 E-0.8 F4500", "M82", "G90"]
    at = {"x": 10.0, "y": 20.5, "f": 1800.26, "bed": 60.0, "target0": 0.0, "target1": 210.6}
    end = ["M104 T1 S211", "M117 afterPrintPaused 55"]
    assert sent(lines, z=0.2, **at) == [*retract, "G1 Z10.2", "G1 X10 Y20.5 F1800.3", *end]
    assert sent(lines, z=175.0, **at) == [*retract, "G1 Z180", "G1 X10 Y20.5 F1800.3", *end]
    assert sent(lines, bed=60.0, target1=None) == ["M117 afterPrintPaused 55"]  # nothing is known of where it is


@given(st.integers(-50, 50), st.integers(-50, 50))
def test_exactly_one_way_through_a_script_is_taken(z: int, x: int) -> None:
    template = """
    {% if pause_position.z < 3 and pause_position.x >= 5 %}M117 a{% elif pause_position.z == 7 %}M117 b
    {% elif pause_position.x %}M117 c{% else %}M117 d{% endif %}
    {% if 2 < pause_position.z %}M118{% endif %}"""
    says = "a" if z < 3 and x >= 5 else "b" if z == 7 else "c" if x else "d"
    assert sent(rendered(template), z=z, x=x) == [f"M117 {says}", *["M118"] * (z > 2)]


def test_values_of_another_moment_have_other_names() -> None:
    resume = ScriptName.BEFORE_RESUME.value
    assert rendered("G1 Z{{ last_position.z }} Z{{ pause_position.z }}", resume) == ("G1 Z{last_z} Z{z}",)
    cancel = ScriptName.AFTER_CANCEL.value
    assert rendered("G1 Z{{ cancel_position.z }} S{{ cancel_fanspeed }}", cancel) == ("G1 Z{z} S{fan}",)
    change = ScriptName.BEFORE_TOOL_CHANGE.value
    assert rendered("M117 {{ tool.old }}-{{ tool.new }}", change) == ("M117 {old}-{new}",)
    assert rendered("M104 S{{ pause_temperature[pause_position.t].target }}") == ("M104 S{hotend}",)


def test_snippets_stand_where_they_are_called() -> None:
    assert rendered("G28\n{% snippet 'wipe' %}\nM84", wipe="G1 X1\nG1 X2") == ("G28", "G1 X1", "G1 X2", "M84")


@pytest.mark.parametrize(
    ("template", "at", "reason"),
    [
        ("\n{{ nothing }}", 2, "undefined"),
        ("{{ 1 / 0 }}", 1, "zero"),
        ("G28\n{% if %}", 2, "Expected"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", 1, "unsafe"),
        ("{{ pause_position.x._term }}", 1, "unsafe"),
        ("{{ script.__init__.__globals__ }}", 1, "unsafe"),
        ("{{ context.update({'a': 1}) }}", 1, "unsafe"),
        ("{% for a in range(99999999) %}x{% endfor %}", 1, "Range"),
        ("{% for a in range(2000) %}G28\n{% endfor %}", None, "lines"),
        ("G28\n{{ 'x' * 84 }}", None, "line 2 of what it makes: 'xxx"),
        ("M117 {{ pause_position.x }} {{ 'x' * 84 }}", None, "line 1 of what it makes: 'M117 {x} xxx"),
        ("{% include '/etc/passwd' %}", 1, "no script /etc/passwd"),
        ("{% snippet 'gone' %}", 1, "no snippet gone"),
        ("{% snippet script.name %}", 1, "quotes"),
        ("{% snippet 'again' %}", 1, "recursion"),
        ("{{ pause_position.x ** 2 }}", 1, "unsupported"),
        ("{{ pause_position.x * pause_position.y }}", 1, "known only later"),
        ("{{ '%.1f'|format(pause_position.x) }}", 1, "number"),
        ("{% for n in range(9) %}{% if pause_position.x > n %}{% endif %}{% endfor %}", None, "outcomes"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(template: str, at: int | None, reason: str) -> None:
    answer = render(Rendering((PAUSED,), {PAUSED: template}, {"again": "{% snippet 'again' %}"}, {}))
    assert not isinstance(answer, Rendered)
    assert (answer.line, reason in answer.reason) == (at, True), answer


def test_what_is_only_shown_is_cut_to_what_the_firmware_takes() -> None:
    longest = "G1 " + "X" * (MAX_COMMAND_BYTES - 3)
    made = rendered("M117 Printing {{ 'part-' * 40 }}\n" + longest)
    assert made == (("M117 Printing " + "part-" * 40)[:MAX_COMMAND_BYTES], longest)
    assert len(numbered(999_999, made[0].encode())) <= 95 + 1


@given(text=st.text(max_size=40))
def test_no_name_becomes_a_command_or_a_placeholder(text: str) -> None:
    assert not set("{};*\n\r\x85\u2028") & set(plain(text))
    assert plainly({"a": [text, 1, None, True]}) == {"a": [plain(text), 1, None, True]}


# The library


async def test_the_default_scripts_turn_everything_off(world: World) -> None:
    made = await world.host.scripts.of_run(world.printers.default(), FILE, ADMIN)
    assert made == Scripts(after_cancel=("M84", "M104 T0 S0", "M140 S0", "M106 S0"), after_failure=("M84", "M106 S0"))


async def test_templates_know_the_run(tmp_path: Path) -> None:
    template = """
    ; all of it
    M117 {{ file.name }} of {{ user }} on {{ printer.name }} ; shown

    {% if profile.heated_bed %}M140 S60{% endif %}
    G1 X{x} Y{y} Z{{ profile.height - 10 }} X{{ printer_profile.volume.width }}
    M118 {{ event.path }} {{ printer_profile.axes.x.speed|int }}
    """
    settings = config.Config(scripts=config.Scripts(before_start=template))
    async with living(World(tmp_path, settings=settings)) as world:
        made = await world.host.scripts.of_run(world.printers.default(), FILE, ADMIN)
    assert made.before_start == (
        *("M117 part.gcode of ada on mk3", "M140 S60", "G1 X{x} Y{y} Z190.0 X200.0", "M118 a/part.gcode 6000"),
    )


async def test_scripts_are_set_per_printer_by_who_may(tmp_path: Path) -> None:
    async with living(World(tmp_path, printers=("mk3", "ender"))) as world:
        library, mk3, ender = world.host.scripts, world.printers.get("mk3"), world.printers.get("ender")
        mine = GcodeScripts({PAUSED: "M117 {{ user }}", "purge": "G1 E{{ parameters.mm }}"}, {"wipe": "G1 X1"})
        with pytest.raises(NotAllowed):
            await library.put(mk3, mine, OPERATOR)
        await library.put(mk3, mine, ADMIN)
        assert library.get(mk3).scripts[PAUSED] == "M117 {{ user }}"
        assert library.get(mk3).scripts["afterPrintCancelled"] == config.Scripts().after_cancel
        assert library.get(mk3).snippets.keys() == {"wipe", "disable_bed", "disable_hotends"}
        assert library.get(ender).scripts[PAUSED] == ""
        assert (await library.of_run(mk3, FILE, ADMIN)).after_pause == ("M117 ada",)


@pytest.mark.parametrize(
    ("scripts", "says"),
    [
        (GcodeScripts({PAUSED: "G28\n{{ nothing }}"}), "script afterPrintPaused, line 2: 'nothing' is undefined"),
        (GcodeScripts({"mine": "{% if %}"}), "script mine, line 1"),
        (GcodeScripts({}, {"wipe": "\n{% endif %}"}), "snippet wipe, line 2"),
        (GcodeScripts({"../mine": ""}), "no name"),
        (GcodeScripts({"mine": "x" * (MAX_BYTES + 1)}), "bytes"),
        (GcodeScripts({f"s{n}": "" for n in range(101)}), "limit"),
    ],
)
async def test_scripts_are_looked_at_when_they_are_set(world: World, scripts: GcodeScripts, says: str) -> None:
    p = world.printers.default()
    before = world.host.scripts.get(p)
    with pytest.raises(Malformed, match=says):
        await world.host.scripts.put(p, scripts, ADMIN)
    assert world.host.scripts.get(p) == before


@pytest.mark.parametrize(
    "bomb",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% set x = 'a' * 500000000 %}",
        "{% set x = namespace(t='aa') %}{% for a in range(99) %}{% set x.t = x.t + x.t %}{% endfor %}",
    ],
)
async def test_a_bomb_is_put_out_and_the_host_goes_on(world: World, bomb: str) -> None:
    p = world.printers.default()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    began = time.monotonic()
    try:
        with pytest.raises(Malformed, match=r"afterPrintPaused.*(1 s or 64 MB|MemoryError)"):
            await world.host.scripts.put(p, GcodeScripts({PAUSED: bomb}), ADMIN)
    finally:
        ticking.cancel()
    assert ticks > 5
    assert time.monotonic() - began < 15


async def test_a_script_is_called_with_what_is_known_now(world: World) -> None:
    p, library = world.printers.default(), world.host.scripts
    moves = "G1 X{{ last_position.x + parameters.mm }} S{{ last_temperature[0].target }} ; {{ context.who }}"
    own = moves + "\nM117 {{ context.who }}"
    await library.put(p, GcodeScripts({"purge": own}), ADMIN)
    world.driver.say(position=Position(10.0, 0.0, 0.0), heaters={"tool0": Temperature(20.0, 210.0)})
    assert await library.called(p, "purge", {"mm": 5}, {"who": "a;b\nM112"}) == ("G1 X15 S210", "M117 a,b M112")
    with pytest.raises(Malformed, match="'dict object' has no attribute 'mm'"):
        await library.called(p, "purge", {}, {"who": ""})
    with pytest.raises(NotFound, match="no script 'nonsense'"):
        await library.called(p, "nonsense", {}, {})


async def test_a_machine_is_told_how_it_is_treated_whenever_that_changes(world: World) -> None:
    p = world.printers.default()
    assert world.driver.handling.profile == PrinterProfile()
    change = ScriptName.AFTER_TOOL_CHANGE.value
    await world.host.scripts.put(p, GcodeScripts({change: "M117 T{{ tool.new }}"}), ADMIN)
    await until(lambda: world.driver.handling.after_tool_change == ("M117 T{new}",))
    await world.host.preferences.put(MachineOptions(on_error=OnError.CANCEL, position_on_cancel=True), p.slug)
    await until(lambda: world.driver.handling.on_error is OnError.CANCEL)
    assert world.driver.handling.position_on_cancel
    world.driver.say(state=PrinterState.OFFLINE)
    await world.host.profiles.add(p, "wide", PrinterProfile(name="wide"), prefer=True, by=ADMIN)
    assert world.driver.handling.profile.name == "wide"
    assert world.driver.handling.after_tool_change == ("M117 T{new}",)
