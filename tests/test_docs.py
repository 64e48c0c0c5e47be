"""The documentation is held to its word: generated pages are current, commands exist, settings are described."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from polyhost import cli
from polyhost.core.printer import PrinterProfile

ROOT = Path(__file__).parent.parent


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATE = _generator()


@pytest.mark.parametrize("page", GENERATE.pages())
def test_generated_pages_are_current(page: str) -> None:
    assert (ROOT / "docs" / page).read_text(encoding="utf-8") == GENERATE.pages()[page], "run: make docs"


@pytest.mark.parametrize("struct", [*GENERATE.sections(), PrinterProfile], ids=lambda struct: struct.__name__)
def test_every_setting_is_described(struct: type[msgspec.Struct]) -> None:
    fields = {field.name for field in msgspec.structs.fields(struct)}
    assert fields == GENERATE.comments_of(struct).keys()


def _pages() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", _pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_targets_of_the_makefile_that_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)|^make ([a-z-]+)", page.read_text(), re.MULTILINE))
    assert {first or second for first, second in named} <= targets


@pytest.mark.parametrize("page", _pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_links_to_files_that_exist(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    local = [link for link in links if not link.startswith(("http:", "https:"))]
    assert [link for link in local if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", _pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_commands_that_exist(page: Path) -> None:
    known = {words.split()[1] for words, _ in GENERATE._commands("polyhost", cli.app)}
    code = "\n".join(match[0] for match in re.finditer(r"(?:`|^\s*)polyhost [a-z-]+", page.read_text(), re.MULTILINE))
    assert set(re.findall(r"polyhost ([a-z]+)", code)) <= known
