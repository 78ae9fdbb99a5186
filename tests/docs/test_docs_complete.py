"""The documentation names everything there is: commands, events, errors, strategies, experiments; its links lead somewhere."""

import dataclasses
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
import typer
from docs_pages import DOCS, PAGES, ROOT, anchors, prose  # type: ignore[import-not-found]

from wardround import errors, events
from wardround.catalogue import CORE, KIND_TEXT
from wardround.cli.everything import app
from wardround.drivers.sources.listed import SOURCES


def text(name: str) -> str:
    return str((DOCS / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["experiment-file.md", "strategies.md", "cli.md"])
def test_generated_pages_are_fresh(generator: ModuleType, name: str) -> None:
    assert text(f"reference/{name}") == generator.PAGES[name](), "run .venv/bin/python docs/generate.py"


def test_generator_covers_all_pages(generator: ModuleType) -> None:
    assert set(generator.PAGES) == {"experiment-file.md", "strategies.md", "cli.md"}


def test_every_command_is_documented(generator: ModuleType) -> None:
    page = text("reference/cli.md")
    found = [path for path, _ in generator.commands(typer.main.get_command(app), ("wardround",))]
    assert ("wardround", "data", "inspect") in found
    assert not [path for path in found if f"## `{' '.join(path)}`\n" not in page]


def test_every_event_kind_and_field_is_documented() -> None:
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text("reference/events.md"), re.DOTALL | re.MULTILINE))
    assert set(sections) == set(events.KINDS)
    for name, kind in events.KINDS.items():
        documented = re.findall(r"^\| `(\w+)` \|", sections[name], re.MULTILINE)
        assert documented == [field.name for field in dataclasses.fields(kind)], name


def test_every_error_code_and_status_is_documented() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| `(\w+)` \| (\d+) \|", text("reference/errors.md"), re.MULTILINE)
    tree = [errors.WardroundError]
    for cls in tree:
        tree += cls.__subclasses__()
    ours = {(cls.code, cls.__name__, str(cls.exit_status)) for cls in tree if cls.__module__ == errors.__name__}
    assert set(rows) == ours
    assert len(rows) == len(ours)


def test_every_strategy_is_documented() -> None:
    catalogue, page = CORE.extended("source", SOURCES), text("reference/strategies.md")
    for kind in KIND_TEXT:
        for name in catalogue.names(kind):
            assert f'<a id="{kind}-{name}"></a>\n\n### `{name}`\n' in page


def test_every_experiment_is_named() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert not [file.stem for file in (ROOT / "experiments").glob("*.toml") if f"`{file.stem}`" not in pages]


def test_every_page_is_reached_from_the_index() -> None:
    reached, todo = set(), [DOCS / "README.md"]
    while todo:
        page = todo.pop()
        if page in reached or not page.is_file() or page.suffix != ".md":
            continue
        reached.add(page)
        todo += [(page.parent / target).resolve() for target, _ in links(page)]
    lost = [str(page.relative_to(DOCS)) for page in PAGES if page not in reached and page.name != "results.md"]
    # decision records are found by their numbers, in the folder itself
    assert not [name for name in lost if not name.startswith("design/")], "add it to docs/README.md"


def links(page: Path) -> list[tuple[str, str]]:
    """(path, anchor) of the links to files."""
    found = re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text(encoding="utf-8")))
    return [(path, anchor) for path, _, anchor in (link.partition("#") for link in found) if "://" not in path]


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda p: str(p.relative_to(ROOT)))
def test_links_resolve(page: Path) -> None:
    for path, anchor in links(page):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{path} leads nowhere"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{path}#{anchor}: no such heading"
