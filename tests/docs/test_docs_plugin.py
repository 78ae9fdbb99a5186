"""The third-party strategy of howto/write-a-strategy.md is installed from the page and used."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from docs_pages import DOCS, SMALL, blocks  # type: ignore[import-not-found]

from wardround.config import override


def run(command: list[str], site: Path, where: Path) -> str:
    settings = {key: value for key, value in os.environ.items() if not key.startswith("WARDROUND")}
    settings |= {"PYTHONPATH": str(site), "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "80"}
    done = subprocess.run(command, cwd=where, env=settings, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_page_installs_and_works(tmp_path: Path) -> None:
    page = (DOCS / "howto" / "write-a-strategy.md").read_text(encoding="utf-8")
    for block in blocks(page):
        if name := block.value("file"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            small = override(block.text, SMALL, name) if name == "with-mine.toml" else block.text
            (tmp_path / name).write_text(small, encoding="utf-8")
    site = tmp_path / "site"
    site.mkdir()
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-build-isolation"]
    run([*pip, "--target", str(site), "./ward-extra"], site, tmp_path)

    wardround = str(Path(sys.executable).parent / "wardround")
    explained = run([wardround, "explain", "drop-longest"], site, tmp_path)
    shown = next(b.text for b in blocks(page) if b.language == "text" and b.text.startswith("rule.drop-longest"))
    assert explained.startswith(shown.removesuffix("...\n"))
    assert "spare = 0" in explained
    assert "macro-F1 on test rows: federated" in run([wardround, "simulate", "with-mine.toml", "-q"], site, tmp_path)
    combined = (
        "import numpy as np; from ward_extra import DropLongest; "
        "rows = np.array([[1, 0], [0, 1], [1, 1], [900, 0], [0, 900]], np.float32); "
        "print(DropLongest(hostile=0.4).combine(rows, np.ones(5)).vector.round(3))"
    )
    assert run([sys.executable, "-c", combined], site, tmp_path).strip() == "[0.667 0.667]"
