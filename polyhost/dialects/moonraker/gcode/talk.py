"""What is said to people: the display, the console, and questions to answer."""

from typing import Final

from polyhost.dialects.moonraker.gcode.grammar import Command, Parameters
from polyhost.dialects.moonraker.gcode.table import Between, Doing, Lines, Step, Table, choice
from polyhost.services.printer import Printer
from polyhost.services.prompts import plain_text

table = Table()

_PREFIXES: Final = {"echo": "echo: ", "echo_no_space": "echo:", "command": "// ", "error": "!! "}


@table.command(
    "RESPOND",
    help="Say MSG at every console",
    marlin="the host says it to everybody who is connected; the machine is not asked",
)
def respond(said: Parameters, p: Printer) -> Step:
    kind = choice(said, "TYPE", tuple(_PREFIXES), "echo")
    prefix = said.text("PREFIX").strip() + " " if "PREFIX" in said else _PREFIXES[kind]
    return spoken(prefix + plain_text(said.text("MSG", "")))


def echo(command: Command) -> Step:
    """``M118``: the rest of its line."""
    return spoken(_PREFIXES["echo"] + plain_text(command.rest))


def spoken(text: str) -> Between:
    def say(doing: Doing) -> Lines:
        doing.say(text.rstrip())
        return ()

    return Between(say)


@table.command("SET_DISPLAY_TEXT", help="Show MSG on the display; nothing, without it", marlin="`M117`")
def display(said: Parameters, p: Printer) -> Lines:
    return [f"M117 {plain_text(said.text('MSG', ''))}".strip()]


def answer_to_prompt(choice: int) -> Step:
    """``M876 S``: the button of a question that the firmware asked."""

    async def answer(doing: Doing) -> None:
        if doing.host.prompts.open_prompt(doing.p) is None:
            await doing.ask(f"M876 S{choice}")
        else:
            await doing.host.prompts.answer(doing.p, choice, doing.by)

    return answer
