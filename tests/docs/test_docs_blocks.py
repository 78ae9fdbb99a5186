"""Blocks that a page marks to run are run, page by page, each page in an empty folder that holds small experiments."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from docs_pages import (  # type: ignore[import-not-found]
    DOCS,
    PAGES,
    ROOT,
    SMALL,
    SMALL_LAB,
    Block,
    blocks,
)

from wardround.config import override, parse
from wardround.drivers.simulation.strategies import simulated

WITH_BLOCKS = [p for p in PAGES if any(b.executed for b in blocks(p.read_text(encoding="utf-8")))]


def small(text: str, name: str) -> str:
    """An experiment on generated data made small."""
    for source, sets in (("hospital", SMALL), ("lab", SMALL_LAB)):
        if f'use = "{source}"' in text:
            return override(text, sets, name)
    return text


def folder(path: Path) -> Path:
    """``path`` with the shipped experiments, small where they need no download."""
    (path / "experiments").mkdir()
    for file in sorted((ROOT / "experiments").glob("*.toml")):
        text = file.read_text(encoding="utf-8")
        (path / "experiments" / file.name).write_text(small(text, file.name), encoding="utf-8")
    return path


def environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("WARDROUND")}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return kept | {"PATH": path, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "80"}


def execute(block: Block, where: Path) -> None:
    """Run one block in ``where``; AssertionError where it does not end as marked."""
    shell = ["bash", "-euo", "pipefail", "-c"] if block.language == "bash" else [sys.executable, "-c"]
    done = subprocess.run(
        [*shell, block.text], cwd=where, env=environment(), capture_output=True, text=True, timeout=300, check=False
    )
    expected = int(block.value("fails") or 0)
    assert done.returncode == expected, f"line {block.line}: status {done.returncode}\n{done.stdout}{done.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_BLOCKS, ids=lambda p: str(p.relative_to(DOCS)))
def test_blocks_run(page: Path, tmp_path: Path) -> None:
    where = folder(tmp_path)
    for block in blocks(page.read_text(encoding="utf-8")):
        if not block.executed:
            continue
        if block.language == "toml":
            parse(block.text, simulated(), f"{page.name}:{block.line}")
            if name := block.value("file"):
                (where / name).write_text(small(block.text, name), encoding="utf-8")
        else:
            execute(block, where)


def test_a_block_can_fail(tmp_path: Path) -> None:
    (good,) = blocks("x\n```bash run\ntrue\n```\n")
    assert good.line == 2
    execute(good, tmp_path)
    for text in ("```bash run\nfalse\n```\n", "```bash run\nfalse | true\n```\n", "```bash fails=2\ntrue\n```\n"):
        with pytest.raises(AssertionError):
            execute(blocks(text)[0], tmp_path)


def test_every_toml_block_that_looks_like_an_experiment_is_run() -> None:
    loose = [
        f"{page.name}:{block.line}"
        for page in PAGES
        for block in blocks(page.read_text(encoding="utf-8"))
        if block.language == "toml" and block.text.startswith("name =") and not block.marks
    ]
    assert not loose


def test_shipped_experiments_parse() -> None:
    for file in sorted((ROOT / "experiments").glob("*.toml")):
        assert parse(file.read_text(encoding="utf-8"), simulated(), file.name).name == file.stem
